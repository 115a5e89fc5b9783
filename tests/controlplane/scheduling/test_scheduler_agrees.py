"""The stock kube-scheduler finds room for every pod that is granted, and what runs in the end is the best there is."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apportion.kube.client import Api, connect
from apportion.kube.kinds import NAMESPACE
from controlplane.components import DEFAULT_SCHEDULER, PACKING_SCHEDULER
from controlplane.plane import Plane
from controlplane.scheduling.rounds import Batch, refused, share_of
from controlplane.scheduling.worlds import CHAINS, worlds
from integration.manifests import SERVICE_ACCOUNT, namespace
from integration.real_plane import RealPlane
from integration.waiting import until

WORLDS = 20  # for each way of scoring; `make bench BENCH=scheduling` plays hundreds
LEAST_SHARE = 0.99


@pytest.fixture
async def api(real_plane: Plane, tmp_path: Path) -> AsyncIterator[Api]:
    """Apportion's definitions are installed; no operator runs."""
    async with RealPlane(tmp_path, real_plane).open(), await connect(str(real_plane.kubeconfig)) as api:
        yield api


@pytest.fixture
async def space(api: Api) -> AsyncIterator[str]:
    name = f"worlds-{secrets.token_hex(3)}"
    await api.create(NAMESPACE.path(), namespace(name))

    async def admits_pods() -> bool:
        accounts = await api.get(SERVICE_ACCOUNT.path(name))
        return "default" in [account["metadata"]["name"] for account in accounts["items"]]

    await until(admits_pods, "the namespace's default ServiceAccount exists")
    yield name
    await api.request("DELETE", NAMESPACE.path(name=name))


async def test_every_granted_pod_finds_room_and_chains_lose_nothing(api: Api, space: str) -> None:
    drawn = [
        *worlds(WORLDS, space, DEFAULT_SCHEDULER),
        *worlds(WORLDS, space, PACKING_SCHEDULER, first_seed=WORLDS),
    ]
    plays = await Batch(api, space, drawn).play()
    troubles = list(refused(plays))
    assert not troubles, "\n".join(troubles)
    for half in (0, 1):
        chains = [play.outcomes[half] for play in plays if play.world.family is CHAINS]
        assert share_of(chains) >= LEAST_SHARE, [(outcome.got, outcome.best) for outcome in chains]
