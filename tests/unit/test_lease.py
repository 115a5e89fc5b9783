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


async def test_a_leader_leads_less_long_than_others_wait_and_from_before_it_asked(server: Server, clock: Clock) -> None:
    """Its patches may be under way for a while, and so may the reply that tells it that it leads."""

    class Slow(Server):
        async def request(self, *asked: Any, **more: Any) -> Any:
            clock.now += 1
            return await server.request(*asked, **more)

    one = Election(Slow(), "system", "apportion", "one", 6.0, clock)
    began = clock.now
    assert await one.tick()
    clock.now = began + 4.7
    assert one.leads()
    clock.now = began + 4.9
    assert not one.leads()


async def test_others_wait_for_as_long_as_the_lease_says_since_they_saw_it_change(server: Server, clock: Clock) -> None:
    """Its holder may have been started with another duration."""
    one = Election(server, "system", "apportion", "one", 10.0, clock)
    other = candidate(server, clock, "other")
    assert await one.tick()
    clock.now += 9
    assert not await other.tick(), "seen for the first time"
    clock.now += 9.9
    assert not await other.tick()
    assert (other.holder, server.holder()) == ("one", "one")
    clock.now += 0.1
    assert await other.tick()
    assert (other.holder, server.holder()) == ("other", "other")


async def test_a_lease_says_since_when_and_after_how_many_others_its_holder_has_it(
    server: Server, clock: Clock
) -> None:
    one, other = candidate(server, clock, "one"), candidate(server, clock, "other")
    await one.tick()
    first = server.lease["spec"]
    assert (first["leaseDurationSeconds"], first["leaseTransitions"], first["acquireTime"]) == (
        6,
        0,
        first["renewTime"],
    )
    clock.now += 2
    await one.tick()
    assert server.lease["spec"]["acquireTime"] == first["acquireTime"]
    assert server.lease["spec"]["renewTime"] > first["renewTime"]
    await one.release()
    await other.tick()
    taken = server.lease["spec"]
    assert (taken["leaseTransitions"], taken["acquireTime"]) == (1, taken["renewTime"])


async def test_what_others_wrote_into_the_spec_of_a_lease_stays(server: Server, clock: Clock) -> None:
    election = candidate(server, clock, "a")
    await election.tick()
    server.edit({**server.lease, "spec": {**server.lease["spec"], "strategy": "OldestEmulationVersion"}})
    clock.now += 7
    assert await election.tick()
    assert server.lease["spec"]["strategy"] == "OldestEmulationVersion"


async def test_a_leader_that_ends_leaves_the_lease_that_another_has_taken(server: Server, clock: Clock) -> None:
    election = candidate(server, clock, "a")
    await election.tick()
    server.edit({**server.lease, "spec": {**server.lease["spec"], "holderIdentity": "b"}})
    await election.release()
    assert server.holder() == "b"


async def test_a_lease_that_may_not_be_read_is_no_lease_that_is_missing(clock: Clock) -> None:
    class Forbidding(Server):
        async def request(self, method: str, path: str, *_: Any, **__: Any) -> Any:
            self.asked.append(method)
            raise Refused(403, "Forbidden", path)

    server = Forbidding()
    with pytest.raises(Refused):
        await candidate(server, clock, "a").tick()
    assert server.asked == ["GET"]


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
