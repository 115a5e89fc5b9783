"""An operator in a container of the image, as the chart's Deployment runs it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from image.building import Image
from image.isolation import Mount
from integration.operator_process import Operator

INSTALL = Path(__file__).parents[2] / "manifests" / "install.yaml"
"""The chart at its default values."""
IDENTITY = {"metadata.name": "apportion-0", "metadata.namespace": "apportion-system"}
# The network is the machine's: 8080 may be taken.
ANY_PORT = ("--port=0", "--host=127.0.0.1")


def deployed() -> tuple[Any, Any]:
    """The pod's spec, and its container's."""
    documents = yaml.safe_load_all(INSTALL.read_text())
    (found,) = (document for document in documents if document and document["kind"] == "Deployment")
    pod = found["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def volumes(folder: Path) -> list[Mount]:
    """The chart's volumes, each an empty folder below `folder` that the pod's group may write."""
    pod, container = deployed()
    assert all("emptyDir" in volume for volume in pod["volumes"]), "a kind of volume that this does not know"
    mounts = []
    for mount in container["volumeMounts"]:
        source = folder / mount["name"]
        source.mkdir()
        source.chmod(0o777)
        mounts.append(Mount(source, mount["mountPath"], writable=not mount.get("readOnly", False)))
    return mounts


def environment() -> dict[str, str]:
    _, container = deployed()
    return {entry["name"]: IDENTITY[entry["valueFrom"]["fieldRef"]["fieldPath"]] for entry in container["env"]}


class Container(Operator):
    """The image's entry point with the chart's arguments and environment; `more`: what a kubelet adds."""

    def __init__(self, image: Image, folder: Path, mounts: list[Mount], more: Mapping[str, str]) -> None:
        super().__init__(Path(), folder, fresh=True)
        _, container = deployed()
        given = {**environment(), **more}
        arguments = [re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], word) for word in container["args"]]
        self.command = image.cell(*mounts, **given).command(*image.entrypoint, *arguments, *ANY_PORT)

    @property
    def pid(self) -> int:
        """Of the container's process 1, as the machine counts. A kubelet's signals go there."""
        outside = super().pid
        (inside,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        return int(inside)
