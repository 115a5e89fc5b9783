"""The real control plane as a control plane of tests. All of a run share one; KWOK plays the kubelets.

Operators have the identity that the chart gives them, so the real authorizer judges the chart's rules in every test.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from apportion.kube.client import Api, connect
from apportion.kube.kinds import NAMESPACE, NODE, POD, PRIORITY_CLASS
from controlplane.nodes import played_by_kwok
from controlplane.plane import Plane
from controlplane.releases import rendered
from integration.manifests import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    DEFINITION,
    MERGE_PATCH,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    SYSTEM,
    Obj,
    namespace,
    readiness,
)
from integration.plane import ControlPlane, Wire
from integration.reading import condition
from integration.waiting import until

INSTALL = Path(__file__).parents[2] / "manifests" / "install.yaml"
APPLY_PATCH = "application/apply-patch+yaml"
OPERATOR = "apportion"
WATCHED = "team-watched"
"""Where tests are of operators that watch one namespace only."""
INSTALLED = {
    kind.name: kind
    for kind in (
        NAMESPACE, SERVICE_ACCOUNT, PRIORITY_CLASS, DEFINITION, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING,
    )
}  # fmt: skip
"""What of the chart matters to an operator that runs as a local process; its Deployment is none of it."""
REPORTED = "sandbox.apportion.dev/reported"
"""Keeps KWOK from setting a node's conditions right: see stages.yaml."""


class RealPlane(ControlPlane):
    """A proxy of its own before the plane that all share."""

    def __init__(self, folder: Path, plane: Plane, watched: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self.watched = watched
        self._plane = plane
        self._rules: dict[str, list[Obj]] = {}

    @property
    def url(self) -> str:
        return self._plane.admin.url

    @property
    def kubeconfig(self) -> Path:
        return self._plane.kubeconfig

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Wire]:
        async with await connect(str(self.kubeconfig)) as api:
            known = await _definitions(api)
            await _install(api, self.watched)
            if known != await _definitions(api):
                await asyncio.to_thread(self._plane.restart_controllers)
        access = self._plane.admin.of_service_account(SYSTEM, OPERATOR)
        trust = ssl.create_default_context(cafile=str(access.authority))
        async with Wire(self.url, trust) as wire:
            self.operators_kubeconfig.write_text(access.kubeconfig().replace(self.url, wire.url))
            yield wire

    def take_rights_away(self, *rights: tuple[str, str, str]) -> None:
        self._rules = self._rules or {path: role["rules"] for path, role in self.roles().items()}
        for path, rules in self._rules.items():
            self._rule(path, [rest for rule in rules for rest in _without(rule, rights)])

    def give_rights_back(self) -> None:
        for path, rules in self._rules.items():
            self._rule(path, rules)

    def roles(self) -> dict[str, Any]:
        """What the chart allows the operators, as it stands, by path: everywhere, on the Lease, where they watch."""
        paths = [CLUSTER_ROLE.path(name=OPERATOR), ROLE.path(SYSTEM, f"{OPERATOR}-leader")]
        paths += [ROLE.path(space, OPERATOR) for space in self.watched]
        return {path: self._plane.admin.request("GET", path) for path in paths}

    def _rule(self, path: str, rules: list[Obj]) -> None:
        role = self._plane.admin.request("GET", path)
        self._plane.admin.request("PUT", path, {**role, "rules": rules})

    def forget_history(self) -> None:
        """etcd forgets; the API server's own window, which only a restart would empty, is hidden by the proxy: after a
        restart the other components would stay away for longer than a test waits."""
        revision = self._plane.compact()
        self.do(lambda: setattr(self.wire, "forgotten", revision))

    def with_kubelet(self, node: Obj) -> Obj:
        return played_by_kwok(node)

    async def report(self, api: Api, node: str, ready: bool) -> None:
        """The test writes what KWOK would write, and what a kubelet writes of its pods when it is well again."""
        query = {"fieldManager": "kubelet"}
        note = {"metadata": {"annotations": {REPORTED: "true"}}}
        await api.request("PATCH", NODE.path(name=node), query, note, MERGE_PATCH)
        path = NODE.path(name=node, subresource="status")
        await api.request("PATCH", path, query, {"status": {"conditions": [readiness(ready)]}}, MERGE_PATCH)
        if not ready:
            return
        bound = await api.get(POD.path(), {"fieldSelector": f"spec.nodeName={node}"})
        for pod in bound["items"]:
            place = pod["metadata"]["namespace"], pod["metadata"]["name"]
            others = [each for each in pod["status"]["conditions"] if each["type"] != "Ready"]
            body = {"status": {"conditions": [*others, readiness(True)]}}
            await api.request("PATCH", POD.path(*place, "status"), query, body, MERGE_PATCH)


async def _install(api: Api, watched: tuple[str, ...]) -> None:
    """What the chart installs. Also after a test that took some of it away, or one that had it for other namespaces."""
    query = {"fieldManager": "installer", "force": "true"}
    manifests = [each for each in yaml.safe_load_all(INSTALL.read_text()) if each]
    if watched:
        # The chart needs these to be there; the file has its own namespace, which the chart has not.
        spaces = [namespace(name) for name in watched]
        manifests = [*manifests[:1], *spaces, *rendered(f"watchNamespaces={{{','.join(watched)}}}")]
    for manifest in manifests:
        kind, meta = INSTALLED.get(manifest["kind"]), manifest["metadata"]
        if kind is not None:
            await api.request("PATCH", kind.path(meta.get("namespace", ""), meta["name"]), query, manifest, APPLY_PATCH)

    async def established() -> bool:
        found = (await api.get(DEFINITION.path()))["items"]
        return all(condition(each, "Established").get("status") == "True" for each in found)

    await until(established, "the CustomResourceDefinitions are established")


async def _definitions(api: Api) -> set[str]:
    return {each["metadata"]["uid"] for each in (await api.get(DEFINITION.path()))["items"]}


def _without(rule: Obj, rights: tuple[tuple[str, str, str], ...]) -> Iterator[Obj]:
    """A rule as one rule for each of its resources, less the rights."""
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            verbs = [verb for verb in rule["verbs"] if (verb, group, resource) not in rights]
            if verbs:
                yield {**rule, "apiGroups": [group], "resources": [resource], "verbs": verbs}
