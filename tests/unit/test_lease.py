"""How a Lease is renewed, with a server of a few lines: what is asked, and what a foreign hand on the Lease does."""

from typing import Any

import pytest

from apportion.kube.client import Api, Refused
from apportion.kube.lease import Election


class Server(Api):
    """Keeps one Lease; a PUT of an older version conflicts."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lease: Any = None
        self.version = 0
        self.asked: list[str] = []

    async def request(self, method: str, path: str, query: Any = None, body: Any = None, patch: str = "") -> Any:
        self.asked.append(method)
        if method == "GET":
            if self.lease is None:
                raise Refused(404, "NotFound", path)
            return self.lease
        if method == "PUT":
            if self.lease is None:
                raise Refused(404, "NotFound", path)
            if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                raise Refused(409, "Conflict", path)
        return self.edit(body)

    def edit(self, lease: Any) -> Any:
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        return self.lease

    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Server:
    return Server()


def candidate(server: Server, clock: Clock, name: str) -> Election:
    return Election(server, "system", "apportion", name, 6.0, clock)


async def test_a_leader_renews_by_one_write(server: Server, clock: Clock) -> None:
    election = candidate(server, clock, "a")
    assert await election.tick()
    server.asked.clear()

    for _ in range(5):
        clock.now += 2
        assert await election.tick()

    assert server.asked == ["PUT"] * 5
    assert server.lease["spec"]["leaseTransitions"] == 0


async def test_whoever_was_late_reads_first_whose_the_lease_is(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first.tick()
    await second.tick()
    clock.now += 7
    assert await second.tick()
    server.asked.clear()

    assert not await first.tick()
    assert server.asked == ["GET"]
    assert server.holder() == "b"


async def test_a_leader_whose_lease_another_took_writes_nothing_over_it(server: Server, clock: Clock) -> None:
    """By its own clock it still leads: the version tells."""
    election = candidate(server, clock, "a")
    await election.tick()
    server.edit({**server.lease, "spec": {**server.lease["spec"], "holderIdentity": "b"}})
    clock.now += 2

    assert not await election.tick()
    assert not election.leads()
    assert server.holder() == "b"


async def test_a_label_on_the_lease_costs_its_holder_nothing_and_stays(server: Server, clock: Clock) -> None:
    election = candidate(server, clock, "a")
    await election.tick()
    server.edit({**server.lease, "metadata": {**server.lease["metadata"], "labels": {"team": "x"}}})
    clock.now += 2

    assert await election.tick()
    assert server.lease["metadata"]["labels"] == {"team": "x"}


async def test_a_deleted_lease_is_made_again_at_once(server: Server, clock: Clock) -> None:
    election = candidate(server, clock, "a")
    await election.tick()
    server.lease = None
    clock.now += 2

    assert await election.tick()
    assert server.holder() == "a"


async def test_a_leader_that_ends_gives_the_lease_up_and_nobody_else_does(server: Server, clock: Clock) -> None:
    one, other = candidate(server, clock, "one"), candidate(server, clock, "other")
    assert await one.tick()
    assert not await other.tick()
    await other.release()
    assert (server.holder(), one.leads()) == ("one", True)
    await one.release()
    assert (server.holder(), one.leads()) == ("", False)
    assert await other.tick(), "at once"


async def test_a_lease_that_two_write_at_a_time_has_one_leader(server: Server, clock: Clock) -> None:
    one, other = candidate(server, clock, "one"), candidate(server, clock, "other")
    assert await one.tick()
    await one.release()
    read = server.lease
    assert await other.tick()

    class Stale(Server):
        """Its cache is a moment old."""

        async def request(self, method: str, *rest: Any, **more: Any) -> Any:
            return read if method == "GET" else await server.request(method, *rest, **more)

    late = Election(Stale(), "system", "apportion", "late", 6.0, clock)
    assert not await late.tick()
    assert (server.holder(), late.leads()) == ("other", False)
