"""Fixtures: the image, built once, and control planes for its containers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.plane import Plane
from controlplane.programs import cache_folder
from image import isolation
from image.building import Image, build
from image.dockerfile import NoImage
from image.isolation import Mount
from image.layers import Layers
from integration.manifests import SYSTEM
from integration.plane import ControlPlane
from integration.real_plane import OPERATOR, RealPlane
from integration.sandbox_plane import SandboxPlane
from tools import missing

ROOT = Path(__file__).parents[2]
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

Access = Callable[[Path], tuple[Mount, dict[str, str]]]
"""Writes into a folder what a container needs to reach a control plane: a mount of it, and environment variables."""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Needs a network for pip, which fetches about 90 MB where no layer is kept of them."""
    if reason := isolation.why_not():
        missing(reason)
    folder = tmp_path_factory.mktemp("image")
    try:
        image = build(ROOT, folder, Layers(cache_folder().parent / "image"))
    except NoImage as problem:
        pytest.fail(str(problem), pytrace=False)
    yield image
    shutil.rmtree(folder)


@pytest.fixture(params=["sandbox", "real"])
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlPlane]:
    """Without any operator."""
    real = request.param == "real"
    plane = RealPlane(tmp_path, request.getfixturevalue("real_plane")) if real else SandboxPlane(tmp_path)
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture
def access(request: pytest.FixtureRequest, plane: ControlPlane) -> Access:
    """To the real one as a pod has it, from the kubelet; the sandbox has no TLS, and so it takes a kubeconfig."""
    if not isinstance(plane, RealPlane):
        return lambda folder: by_kubeconfig(plane, folder)
    shared: Plane = request.getfixturevalue("real_plane")
    return lambda folder: by_account(shared, folder)


def by_account(plane: Plane, folder: Path) -> tuple[Mount, dict[str, str]]:
    access = plane.admin.of_service_account(SYSTEM, OPERATOR)
    folder = folder / "account"
    folder.mkdir()
    (folder / "token").write_text(access.token)
    shutil.copy(access.authority, folder / "ca.crt")
    there = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(access.port)}
    return Mount(folder, ACCOUNT), there


def by_kubeconfig(plane: ControlPlane, folder: Path) -> tuple[Mount, dict[str, str]]:
    folder = folder / "access"
    folder.mkdir()
    shutil.copy(plane.kubeconfig, folder / "config")
    return Mount(folder, "/kubeconfig"), {"KUBECONFIG": "/kubeconfig/config"}
