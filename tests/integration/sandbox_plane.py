"""The sandbox as a control plane of tests."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from apportion.api.crds import crd_documents
from apportion.kube.client import Api
from apportion.kube.kinds import NODE
from apportion.sandbox import Sandbox
from integration.manifests import MERGE_PATCH, SYSTEM, Obj, namespace, priority_class, readiness
from integration.plane import ControlPlane, Wire


class SandboxPlane(ControlPlane):
    """A sandbox of its own, with short times."""

    traced = True
    _sandbox: Sandbox

    @property
    def url(self) -> str:
        return self._sandbox.url

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Wire]:
        self._sandbox = Sandbox(
            bind_seconds=0.01, start_seconds=0.03, eviction_seconds=0.5, orphan_seconds=0.2, back_off_seconds=0.1
        )
        async with self._sandbox, Wire(self.url) as wire:
            for obj in furniture():
                self._sandbox.store.apply(obj)
            config = self._sandbox.kubeconfig()
            self.kubeconfig.write_text(config)
            self.operators_kubeconfig.write_text(config.replace(self.url, wire.url))
            yield wire

    def take_rights_away(self, *rights: tuple[str, str, str]) -> None:
        self.do(lambda: self._sandbox.deny.update(rights))

    def give_rights_back(self) -> None:
        self.do(self._sandbox.deny.clear)

    def forget_history(self) -> None:
        self.do(self._sandbox.compact)

    def with_kubelet(self, node: Obj) -> Obj:
        return node

    async def report(self, api: Api, node: str, ready: bool) -> None:
        path, query = NODE.path(name=node, subresource="status"), {"fieldManager": "kubelet"}
        await api.request("PATCH", path, query, {"status": {"conditions": [readiness(ready)]}}, MERGE_PATCH)


def furniture() -> Iterable[Obj]:
    """What the chart would have installed."""
    yield from crd_documents()
    yield namespace(SYSTEM)
    yield priority_class("apportion-training", 0)
