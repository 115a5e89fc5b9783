"""When a round is decided, and what follows from it: without a server, on a clock that the test moves."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from apportion import __version__
from apportion.config import Settings
from apportion.controller import allocator as module
from apportion.controller.allocator import FAILED_RETRY_SECONDS, LOST_RETRY_SECONDS, Allocator
from apportion.controller.events import LONGEST_QUEUE, PER_SECOND, EventPoster
from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.kinds import JOB, NODE, POLICY, WATCHED
from apportion.metrics import Metrics
from apportion.model.plan import Decision
from apportion.model.policy import Policy
from apportion.model.rounds import Round
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from unit.test_allocator import Clock, embedded, node

H100 = "nvidia-h100-80gb-hbm3"


class Server(Api):
    """Takes every write, and answers with the object as it is then; or fails at some paths."""

    def __init__(self, fails: Callable[[str, str], Exception | None] = lambda method, path: None) -> None:
        super().__init__(None)
        self.fails = fails
        self.written: list[tuple[str, str]] = []

    async def request(self, method: str, path: str, query: Any = None, body: Any = None, patch: str = "") -> Any:
        self.written.append((method, path))
        if (error := self.fails(method, path)) is not None:
            raise error
        if method != "PATCH":
            return {"metadata": {"name": "x", "namespace": "team", "uid": "x", "resourceVersion": "9"}}
        name = path.split("/")[-2]
        is_job = "trainingjobs" in path
        meta = {"name": name, "uid": name, "resourceVersion": str(1 + len(self.written))}
        status = next(entry["value"] for entry in body if entry["path"] == "/status")
        spec = embedded(name)["spec"] if is_job else {}
        return {"metadata": {**meta, **({"namespace": "team"} if is_job else {})}, "spec": spec, "status": status}


class Rounds:
    """An allocator that knows eight GPUs and a policy, and the rounds that it tells."""

    def __init__(self, api: Api | None = None, leads: Callable[[], bool] = lambda: True, **settings: Any) -> None:
        self.clock, self.metrics, self.told = Clock(), Metrics(), list[Round]()
        self.api = api or Server()
        self.allocator = Allocator(
            self.api, Settings(**settings), self.metrics, leads, self.clock, identity="me", told=self.told.append
        )
        self.allocator.take(NODE, node("n0"))
        self.policy(1)

    def policy(self, version: int, **spec: Any) -> None:
        meta = {"name": "default", "uid": "default", "resourceVersion": str(version), "generation": version}
        self.allocator.take(POLICY, {"metadata": meta, "spec": spec})

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"apportion_{name}", labels)


async def test_what_has_not_changed_is_not_decided_again_and_another_policy_is_news() -> None:
    rounds = Rounds()
    await rounds.allocator.round()
    await rounds.allocator.round()
    assert len(rounds.told) == 1
    rounds.policy(5, mode="Observe")
    await rounds.allocator.round()
    assert len(rounds.told) == 2
    assert rounds.told[-1].policy.mode == "Observe"


async def test_a_round_is_told_with_who_decided_it_by_which_version() -> None:
    rounds = Rounds()
    rounds.allocator.take(JOB, embedded("a"))
    await rounds.allocator.round()
    (told,) = rounds.told
    assert (told.leader, told.written_by) == ("me", __version__)
    assert [outcome.granted.replicas for outcome in told.decision.outcomes] == [8]


async def test_a_grant_is_told_by_an_event_and_counted() -> None:
    rounds = Rounds()
    rounds.allocator.take(JOB, embedded("a"))
    await rounds.allocator.round()
    assert [body["reason"] for _, body in rounds.allocator.events.waiting] == ["Admitted"]
    assert rounds.value("accelerators_allocated", flavor=H100) == 8


async def test_what_is_lost_at_once_starts_a_grace() -> None:
    rounds = Rounds()
    rounds.allocator.take(NODE, node("n1"))
    await rounds.allocator.round()
    rounds.allocator.take(NODE, node("n1"), deleted=True)
    await rounds.allocator.round()
    assert [list(told.snapshot.grace) for told in rounds.told] == [[], [H100]]


async def test_a_round_whose_writes_were_lost_is_decided_again_a_moment_later() -> None:
    """Though nothing that is known has changed."""
    conflict = Refused(409, "Conflict", "modified")
    rounds = Rounds(Server(lambda method, path: conflict if "trainingjobs" in path else None))
    rounds.allocator.take(JOB, embedded("a"))
    await rounds.allocator.round()
    assert rounds.allocator.patience() == pytest.approx(LOST_RETRY_SECONDS)
    assert rounds.value("api_errors_total", verb="patch", reason="409 Conflict") == 1
    await rounds.allocator.round()
    assert len(rounds.told) == 2


async def test_a_deployment_that_is_refused_is_known_to_the_next_round_which_comes_soon() -> None:
    denied = Refused(403, "Forbidden", "denied by a webhook")
    rounds = Rounds(Server(lambda method, path: denied if method == "POST" else None))
    rounds.allocator.take(JOB, embedded("a"))
    rounds.allocator.dirty.taken()
    await rounds.allocator.round()
    assert list(rounds.allocator.cluster.refusals.values()) == [str(denied)]
    assert rounds.allocator.dirty.due_in() is not None
    await rounds.allocator.round()
    assert rounds.told[-1].snapshot.jobs[0].refusal == str(denied)


async def test_the_status_that_was_written_is_known_before_a_watch_tells_it() -> None:
    rounds = Rounds()
    rounds.allocator.take(JOB, embedded("a"))
    await rounds.allocator.round()
    known = rounds.allocator.cluster.raw(POLICY, "", "default")
    assert known is not None
    assert known["status"]["round"] == rounds.told[0].decision.round == 1


@pytest.mark.parametrize("error", [Refused(422, "Invalid", "no"), Unreachable("PATCH: gone")])
async def test_a_status_of_the_policy_that_is_not_written_ends_no_round(error: Exception) -> None:
    rounds = Rounds(Server(lambda method, path: error if "allocationpolicies" in path else None))
    await rounds.allocator.round()
    assert len(rounds.told) == 1
    assert rounds.value("api_errors_total", verb="patch", reason=type(error).__name__) == 1


async def test_who_does_not_lead_any_more_writes_no_status_either() -> None:
    rounds = Rounds(leads=lambda: False)
    rounds.allocator.take(JOB, embedded("a"))
    await rounds.allocator.round()
    assert isinstance(rounds.api, Server)
    assert rounds.api.written == []


async def test_what_was_granted_is_paid_for_from_its_round_on() -> None:
    rounds = Rounds()
    rounds.policy(2, flavors=[{"name": H100, "pricePerHour": 2.0}])
    await rounds.allocator.round()
    assert rounds.value("cost_per_hour", queue="", flavor=H100, use="idle") == 16.0


async def test_an_audit_that_finds_something_brings_a_round_and_knows_it_as_of_when_it_began() -> None:
    """What came while it was read may be missing in it."""
    rounds = Rounds()

    class Listing(Server):
        async def request(self, method: str, path: str, *rest: Any, **more: Any) -> Any:
            rounds.clock.now += 7
            return {"items": []}

    rounds.allocator.api = Listing()
    rounds.allocator.dirty.taken()
    await rounds.allocator.audit([JOB])
    assert rounds.allocator.dirty.due_in() is None, "nothing is new"
    await rounds.allocator.audit()
    assert rounds.allocator.dirty.due_in() is not None, "the node is gone"
    assert rounds.allocator.sight.age() == 7 * len(WATCHED)


@pytest.mark.parametrize("case", ["does not lead", "knows nothing"])
async def test_who_does_not_lead_or_knows_nothing_decides_nothing(case: str) -> None:
    """And is alive all the same."""
    asked, often = 0, asyncio.Event()

    def leads() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            often.set()
        return case != "does not lead"

    told: list[Round] = []
    settings = Settings(quiet_seconds=0.01, longest_seconds=0.02)
    allocator = Allocator(Server(), settings, Metrics(), leads, told=told.append)
    if case == "does not lead":
        for kind in WATCHED:
            allocator.sight.listed(kind, allocator.monotonic())
    began = allocator.progressed_at
    task = asyncio.create_task(allocator.rounds())
    for _ in range(3):
        allocator.dirty.mark()
    await asyncio.wait_for(often.wait(), 20)
    task.cancel()
    assert told == []
    assert allocator.progressed_at > began


def deciding(monkeypatch: pytest.MonkeyPatch, change: Callable[[Decision], Decision]) -> None:
    monkeypatch.setattr(module, "decide", lambda snapshot, policy: change(decide(snapshot, policy)))


async def test_a_decision_that_fails_is_counted_and_tried_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at once, though its time has come: it may fail for ever."""

    def failing(snapshot: Snapshot, policy: Policy) -> Decision:
        raise ZeroDivisionError

    rounds = Rounds()
    deciding(monkeypatch, lambda decision: replace(decision, recheck_after=1.0))
    await rounds.allocator.round()
    rounds.clock.now += 1
    assert rounds.allocator.patience() == 0
    monkeypatch.setattr(module, "decide", failing)
    with caplog.at_level(logging.CRITICAL, "apportion"):
        await rounds.allocator.round()
    assert rounds.allocator.patience() == FAILED_RETRY_SECONDS
    assert rounds.value("round_failures_total", reason="DecisionFailed") == 1
    assert len(rounds.told) == 1


async def test_time_alone_brings_a_round_when_the_decision_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """But it is never waited for so long that the process looks dead."""
    rounds = Rounds()
    deciding(monkeypatch, lambda decision: replace(decision, recheck_after=3.0))
    await rounds.allocator.round()
    assert rounds.allocator.patience() == 3.0
    rounds.clock.now += 2.9
    await rounds.allocator.round()
    assert len(rounds.told) == 1
    rounds.clock.now += 0.1
    deciding(monkeypatch, lambda decision: replace(decision, recheck_after=600.0))
    await rounds.allocator.round()
    assert len(rounds.told) == 2
    assert rounds.allocator.patience() == 5.0


async def test_why_another_solver_made_the_plan_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds()

    def greedily(decision: Decision) -> Decision:
        return replace(decision, plan=replace(decision.plan, method="greedy", warnings=("highs: too slow",)))

    deciding(monkeypatch, greedily)
    with caplog.at_level(logging.WARNING, "apportion"):
        for version in (2, 3):
            rounds.policy(10 * version)
            await rounds.allocator.round()
    assert rounds.value("solver_fallbacks_total", solver="greedy") == 2
    assert [record.getMessage() for record in caplog.records] == [
        "the plan is that of greedy, not of the first solver: highs: too slow"
    ]


# --- Events ----------------------------------------------------------------------------------------------------------


async def posted(
    count: int, leads: Callable[[], bool] = lambda: True, fails: bool = False
) -> tuple[EventPoster, Server]:
    """A poster that has as many to write as that round brought."""
    refused = Refused(403, "Forbidden", "no")
    server = Server(lambda method, path: refused if fails else None)
    poster = EventPoster(server, leads)
    rounds = Rounds()
    rounds.allocator.take(JOB, embedded("a"))
    await rounds.allocator.round()
    (outcome,) = rounds.told[0].decision.outcomes
    facts = {entry.value.key: entry.value for entry in rounds.allocator.cluster.entries[JOB.name].values()}
    poster.post([(outcome, "Normal", "Why", str(number)) for number in range(count)], facts, 0.0)
    return poster, server


@pytest.mark.parametrize(
    ("leads", "fails", "sent"), [(True, False, 3), (False, False, 0), (True, True, 3)],
    ids=["all is well", "another leads", "each is refused"],
)  # fmt: skip
async def test_events_are_written_one_by_one_at_a_steady_rate(leads: bool, fails: bool, sent: int) -> None:
    count, asked, done = 3, 0, asyncio.Event()

    def may() -> bool:
        nonlocal asked
        asked += 1
        if asked == count:
            done.set()
        return leads

    poster, server = await posted(count, may, fails)
    loop = asyncio.get_running_loop()
    began = loop.time()
    task = asyncio.create_task(poster.run())
    await asyncio.wait_for(done.wait(), 20)
    assert loop.time() - began >= (count - 1) / PER_SECOND
    await asyncio.sleep(0)
    assert server.written == [("POST", "/api/v1/namespaces/team/events")] * sent
    assert not task.done()
    task.cancel()


async def test_of_too_many_events_the_oldest_are_dropped() -> None:
    poster, _ = await posted(LONGEST_QUEUE + 5)
    assert len(poster.waiting) == LONGEST_QUEUE
    assert poster.waiting[0][1]["message"] == "5"
