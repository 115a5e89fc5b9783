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
from apportion.kube.kinds import NODE, POD
from controlplane.nodes import played_by_kwok
from controlplane.plane import Plane
from integration.manifests import CLUSTER_ROLE, DEFINITION, MERGE_PATCH, SYSTEM, Obj, readiness
from integration.plane import ControlPlane, Wire
from integration.reading import condition
from integration.waiting import until

INSTALL = Path(__file__).parents[2] / "manifests" / "install.yaml"
APPLY_PATCH = "application/apply-patch+yaml"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OPERATOR = "apportion"
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": f"/api/v1/namespaces/{SYSTEM}/serviceaccounts",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "CustomResourceDefinition": DEFINITION.path(),
    "ClusterRole": CLUSTER_ROLE.path(),
    "ClusterRoleBinding": f"{RBAC}/clusterrolebindings",
    "Role": f"{RBAC}/namespaces/{SYSTEM}/roles",
    "RoleBinding": f"{RBAC}/namespaces/{SYSTEM}/rolebindings",
}
"""What of the chart matters to an operator that runs as a local process; its Deployment is none of it."""
REPORTED = "sandbox.apportion.dev/reported"
"""Keeps KWOK from setting a node's conditions right: see stages.yaml."""


class RealPlane(ControlPlane):
    """A proxy of its own before the plane that all share."""

    def __init__(self, folder: Path, plane: Plane) -> None:
        super().__init__(folder)
        self._plane = plane
        self._rules: list[Any] = []

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
            await _install(api)
            if known != await _definitions(api):
                await asyncio.to_thread(self._plane.restart_controllers)
        access = self._plane.admin.of_service_account(SYSTEM, OPERATOR)
        trust = ssl.create_default_context(cafile=str(access.authority))
        async with Wire(self.url, trust) as wire:
            self.operators_kubeconfig.write_text(access.kubeconfig().replace(self.url, wire.url))
            yield wire

    def take_rights_away(self, *rights: tuple[str, str, str]) -> None:
        self._rules = self._rules or self.role()["rules"]
        self._rule([rest for rule in self._rules for rest in _without(rule, rights)])

    def give_rights_back(self) -> None:
        self._rule(self._rules)

    def role(self) -> Any:
        """The ClusterRole of the operators, as it stands."""
        return self._plane.admin.request("GET", CLUSTER_ROLE.path(name=OPERATOR))

    def _rule(self, rules: list[Obj]) -> None:
        self._plane.admin.request("PUT", CLUSTER_ROLE.path(name=OPERATOR), {**self.role(), "rules": rules})

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


async def _install(api: Api) -> None:
    """What the chart installs. Also after a test that took some of it away."""
    query = {"fieldManager": "installer", "force": "true"}
    for manifest in yaml.safe_load_all(INSTALL.read_text()):
        if manifest and manifest["kind"] in COLLECTIONS:
            path = f"{COLLECTIONS[manifest['kind']]}/{manifest['metadata']['name']}"
            await api.request("PATCH", path, query, manifest, APPLY_PATCH)

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
                yield {"apiGroups": [group], "resources": [resource], "verbs": verbs}
