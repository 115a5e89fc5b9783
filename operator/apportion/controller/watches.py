"""kopf's part: watch everything, hand each raw object to the cluster. Handlers translate, they do not think."""

import asyncio
from collections.abc import Callable
from typing import Any

import kopf

from apportion.kube.client import Api
from apportion.kube.kinds import WATCHED, Kind

Take = Callable[[Kind, Any, bool], None]


def registry_of(api: Api, take: Take) -> kopf.OperatorRegistry:
    """Every trigger of the operator: an event of any watched kind. No finalizers, no annotations, no timers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**await api.credentials())

    @kopf.on.startup(registry=registry)  # type: ignore[untyped-decorator]
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.watching.server_timeout = 240
        settings.watching.inactivity_timeout = 150
        settings.watching.connect_timeout = 10
        settings.networking.error_backoffs = (0.5, 1, 2)

    for kind in WATCHED:
        _watch(registry, kind, take)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: Kind, take: Take) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)  # type: ignore[untyped-decorator]
    def handle(event: Any, **_: Any) -> None:
        take(kind, event["object"], event["type"] == "DELETED")


async def watch(api: Api, take: Take, stop: asyncio.Event, ready: asyncio.Event) -> None:
    """Run kopf until `stop` is set. Any watch error but a 410 ends it: the caller runs it again."""
    await kopf.operator(
        registry=registry_of(api, take),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
        ready_flag=ready,
    )
