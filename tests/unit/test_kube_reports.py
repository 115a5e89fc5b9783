"""What is written to the statuses of queues and the policy, and when prices are a reason to write."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from apportion.api import parse_allocation_policy, parse_queue
from apportion.kube import kinds
from apportion.kube.client import Api
from apportion.kube.cluster import Cluster
from apportion.kube.prices import STEADY_ROUNDS, unlike
from apportion.kube.reports import Reports, replaced
from apportion.model.caps import Kind
from apportion.model.curves import Usl
from apportion.model.jobs import Admission, Block
from apportion.model.plan import Decision, Price
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import kept
from apportion.planner import decide
from builders import A100, H100, LONG_AGO, NOW, job, nodes, queue, quota, running, snapshot

WORLD = snapshot(job("waiting", 1, 16, queue_name="red"), on=nodes(1), queues=(queue("red", quota(8)),))


class Server(Api):
    """Keeps what is patched, as the API server would, and counts the writes."""

    def __init__(self, *queues: str) -> None:
        super().__init__(None)
        self.cluster, self.written, self.version = Cluster(), 0, 1
        policy = {"metadata": {"name": "default", "uid": "default", "resourceVersion": "1"}, "spec": {}}
        self.cluster.apply(kinds.POLICY, policy)
        for name in queues:
            raw = {"metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "spec": {"flavors": []}}
            self.cluster.apply(kinds.QUEUE_KIND, raw)
        self.reports = Reports(self, self.cluster)

    async def patch(self, path: str, body: Any, content_type: str = "") -> Any:
        kind = kinds.QUEUE_KIND if "/queues/" in path else kinds.POLICY
        raw = self.cluster.raw(kind, "", path.split("/")[-2])
        assert raw is not None
        self.written, self.version = self.written + 1, self.version + 1
        metadata = {**raw["metadata"], "resourceVersion": str(self.version)}
        return {**raw, "metadata": metadata, "status": body[-1]["value"]}

    async def round(self, world: Snapshot, decision: Decision) -> int:
        """How many writes the decision made."""
        before = self.written
        for kind, reply in await self.reports.write(world, Policy(), decision):
            self.cluster.apply(kind, reply)
        return self.written - before

    def status(self, kind: kinds.Kind, name: str) -> Any:
        raw = self.cluster.raw(kind, "", name)
        assert raw is not None
        return raw["status"]


@pytest.fixture(scope="module")
def resting() -> Decision:
    """A decision that grants nothing new: whatever differs is not for its counts."""
    return replace(decide(WORLD, Policy()), round=WORLD.round)


def at(decision: Decision, *prices: Price) -> Decision:
    by_place = {(price.queue, price.flavor): price.price for price in prices}
    use = tuple(replace(one, price=by_place.get((one.queue, one.flavor), 0.0)) for one in decision.queue_use)
    return replace(decision, plan=replace(decision.plan, prices=prices), queue_use=use)


def status(price: float) -> dict[str, Any]:
    return {"prices": [{"flavor": "h100", "price": price}]}


CASES = {
    "a third more": (0.30, 0.40, False),
    "half more": (0.30, 0.46, True),
    "a third less": (0.30, 0.21, False),
    "half less": (0.30, 0.14, True),
    "scarce from now on": (0.0, 0.30, True),
    "not scarce any more": (0.30, 0.0, True),
    "as it was": (0.30, 0.30, False),
}


@pytest.mark.parametrize("case", CASES)
def test_a_price_is_another_one_when_it_differs_by_more_than_a_third(case: str) -> None:
    was, now, differs = CASES[case]
    assert unlike(status(was), status(now), highest=now) == differs


@pytest.mark.parametrize(("now", "differs"), [(0.02, False), (0.04, True)])
def test_a_price_that_is_small_beside_the_highest_waits_for_other_news(now: float, differs: bool) -> None:
    assert unlike(status(0.001), status(now), highest=0.3) == differs


def test_the_highest_price_is_that_of_before_or_of_now() -> None:
    """What was dear beside the rest is, and the rest is not, when the dear one gets cheap."""
    before, after = status(0.3), status(0.0)
    before["prices"].append({"flavor": "a100", "price": 0.001})
    after["prices"] = [{"flavor": "h100", "price": 0.29}, {"flavor": "a100", "price": 0.004}]
    assert not unlike(before, after, highest=0.0)


async def test_a_price_of_money_is_no_measure_for_those_of_accelerators(resting: Decision) -> None:
    server = Server("red")
    assert await server.round(WORLD, at(resting, Price("h100", 0.3))) == 2
    dear = at(resting, Price("h100", 0.6), Price("", 100.0, cap=Kind.BUDGET))
    assert [await server.round(WORLD, dear) for _ in range(STEADY_ROUNDS)][-1] == 1


async def test_prices_that_changed_for_good_are_told_once_after_some_rounds(resting: Decision) -> None:
    server = Server("red")
    before = at(resting, Price("h100", 0.3), Price("h100", 0.1, "red"))
    assert await server.round(WORLD, before) == 2
    after = at(resting, Price("h100", 0.1), Price("h100", 0.3, "red"))
    assert [await server.round(WORLD, after) for _ in range(STEADY_ROUNDS + 2)] == [0] * (STEADY_ROUNDS - 1) + [2, 0, 0]
    assert server.status(kinds.POLICY, "default")["prices"] == [{"flavor": "h100", "price": 0.1}]
    assert [row["price"] for row in server.status(kinds.QUEUE_KIND, "red")["flavors"]] == [0.3]


async def test_prices_that_come_and_go_are_not_told(resting: Decision) -> None:
    server = Server("red")
    there, here = at(resting, Price("h100", 0.3)), at(resting, Price("h100", 0.3, "red"))
    assert await server.round(WORLD, there) == 2
    for _ in range(3):
        assert [await server.round(WORLD, here) for _ in range(STEADY_ROUNDS - 1)] == [0] * (STEADY_ROUNDS - 1)
        assert await server.round(WORLD, there) == 0


async def test_a_round_that_grants_something_tells_prices_at_once(resting: Decision) -> None:
    server = Server("red")
    assert await server.round(WORLD, at(resting, Price("h100", 0.3), Price("h100", 0.3, "red"))) == 2
    granting = replace(at(resting, Price("h100", 0.3)), round=WORLD.round + 1)
    assert await server.round(WORLD, granting) == 2
    assert [row["price"] for row in server.status(kinds.QUEUE_KIND, "red")["flavors"]] == [0.0]


async def test_a_count_is_told_whatever_the_prices(resting: Decision) -> None:
    server = Server("red")
    assert await server.round(WORLD, resting) == 2
    assert await server.round(WORLD, resting) == 0
    less = tuple(replace(use, used=0) for use in resting.queue_use)
    assert await server.round(WORLD, replace(resting, queue_use=less)) == 1


async def test_a_queue_counts_who_has_something_and_who_waits_for_it() -> None:
    """Who names no queue stands in `default`; who has ended, is suspended or cannot be read waits for nothing."""
    runs = running(job("runs", 1, 1), {"h100-0": 1})
    waits = [job(f"waits-{at}", 1, 1, 16) for at in range(2)]
    over = [replace(job("over"), completed=True), replace(job("off"), suspended=True)]
    broken = replace(job("broken"), block=Block("Invalid", "spec: expected something else"), steps=())
    elsewhere = job("elsewhere", 1, 1, queue_name="red")
    queues = (queue("default", quota(8)), queue("red", quota(8)))
    world = snapshot(runs, *waits, *over, broken, elsewhere, on=nodes(1), queues=queues)
    server = Server("default", "red")
    await server.round(world, decide(world, Policy()))
    default, red = (server.status(kinds.QUEUE_KIND, name) for name in ("default", "red"))
    assert (default["admitted"], default["pending"]) == (1, 2)
    assert (red["admitted"], red["pending"]) == (1, 0)


async def test_what_a_queue_lends_and_borrows_stands_in_its_status(resting: Decision) -> None:
    server = Server("red")
    use = tuple(replace(one, nominal=8, used=5, borrowed=1, lent=2) for one in resting.queue_use)
    await server.round(WORLD, replace(resting, queue_use=use))
    (row,) = server.status(kinds.QUEUE_KIND, "red")["flavors"]
    assert row == {"name": "h100", "nominal": 8, "used": 5, "borrowed": 1, "lent": 2, "price": row["price"]}


async def test_a_gap_without_end_and_prices_that_the_schema_does_not_take_are_not_written(resting: Decision) -> None:
    server = Server()
    prices = (Price("h100", 0.5), Price("a100", -0.1), Price("h100", 0.25, "red"), Price("", 2.0, cap=Kind.BUDGET))
    plan = replace(resting.plan, objective=0.0, bound=1.0, prices=prices)
    await server.round(WORLD, replace(resting, plan=plan))
    policy = server.status(kinds.POLICY, "default")
    parse_allocation_policy({"metadata": {"name": "default"}, "spec": {}, "status": policy})
    assert (policy["gap"], policy["prices"]) == (1e9, [{"flavor": "h100", "price": 0.5}])


def test_a_status_of_the_policy_is_written_over_the_one_that_was_read_alone() -> None:
    """And what others say in its conditions stays."""
    conditions = [{"type": "Audited", "status": "True"}]
    raw = {"metadata": {"uid": "u"}, "status": {"round": 3, "conditions": conditions}}
    assert replaced(raw, {"round": 4}) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": "/status/round", "value": 3},
        {"op": "add", "path": "/status", "value": {"conditions": conditions, "round": 4}},
    ]
    assert replaced({"metadata": {"uid": "u"}}, {"round": 4}) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "add", "path": "/status", "value": {"round": 4}},
    ]


@pytest.mark.parametrize("field", ["round", "mode", "pending", "admitted", "dominantShare", "observedGeneration"])
def test_every_count_of_a_status_is_worth_a_write(field: str) -> None:
    old = {"metadata": {"uid": "u"}, "status": {field: 1}}
    assert replaced(old, {field: 1}) is None
    assert replaced(old, {field: 2}) is not None


async def test_an_object_that_is_gone_gets_no_status(resting: Decision) -> None:
    server = Server()
    assert await server.round(WORLD, resting) == 1, "the policy's; there is no queue"


async def test_prices_are_not_taken_back_by_rounds_without_a_plan(resting: Decision) -> None:
    server = Server("red")
    assert await server.round(WORLD, at(resting, Price("h100", 0.3))) == 2
    nothing = replace(resting, plan=kept(WORLD, "no plan"))
    assert [await server.round(WORLD, nothing) for _ in range(STEADY_ROUNDS)] == [0] * STEADY_ROUNDS


async def test_small_prices_keep_their_digits(resting: Decision) -> None:
    server = Server("red")
    await server.round(WORLD, at(resting, Price("h100", 0.0000123456), Price("h100", 0.0000023456, "red")))
    assert server.status(kinds.POLICY, "default")["prices"] == [{"flavor": "h100", "price": 0.00001235}]
    assert [row["price"] for row in server.status(kinds.QUEUE_KIND, "red")["flavors"]] == [0.000002346]


def crowded(seed: int) -> Snapshot:
    """Two queues of a cohort whose jobs ask for more than five nodes have, all granted what they should have."""
    chance = random.Random(seed)
    jobs = [
        job(
            f"j{number}", low := chance.choice((1, 1, 2)), low + chance.randint(1, 8), chance.choice((1, 1, 2, 4)),
            queue_name=chance.choice(("a", "b")), restart_seconds=60.0, created=LONG_AGO + number,
            curve=Usl(1.0, chance.uniform(0.005, 0.1)),
        )
        for number in range(14)
    ]  # fmt: skip
    queues = tuple(queue(name, quota(16), quota(8, "a100"), cohort="lab") for name in ("a", "b"))
    world = snapshot(*jobs, on=(*nodes(3), *nodes(2, flavor="a100")), queues=queues)
    targets = {outcome.key: outcome.target for outcome in decide(world, Policy()).outcomes}
    granted = []
    for one in world.jobs:
        grant = targets[one.key]
        admission = Admission(grant.flavor, grant.replicas, 1, NOW - 5000) if grant.replicas else None
        granted.append(replace(one, memory=replace(one.memory, phase="Running", admission=admission)))
    return replace(world, jobs=tuple(granted))


def noisy(world: Snapshot, rounds: int, seed: int) -> Iterator[Snapshot]:
    """The same cluster with every job's curve measured anew, 10 % off."""
    chance = random.Random(seed)
    for _ in range(rounds):
        jobs = []
        for one in world.jobs:
            assert isinstance(one.curve, Usl)
            sigma = one.curve.sigma * math.exp(chance.gauss(0, 0.1))
            jobs.append(replace(one, curve=replace(one.curve, sigma=sigma)))
        yield replace(world, jobs=tuple(jobs))


def prices_of(decision: Decision) -> dict[tuple[str, str], float]:
    return {(price.flavor, price.queue): price.price for price in decision.plan.prices}


def prices_apart(one: Decision, other: Decision) -> float:
    """The largest change of a price, as a part of the highest."""
    left, right = prices_of(one), prices_of(other)
    return max(abs(left.get(key, 0.0) - right.get(key, 0.0)) for key in {*left, *right}) / max(left.values())


@pytest.mark.parametrize("seed", [39, 56])
async def test_noise_of_the_rates_writes_nothing(seed: int) -> None:
    """Seeds where it moves a price by more than 30 % of the highest, and changes no decision."""
    world, server = crowded(seed), Server("a", "b")
    first = decide(world, Policy())
    assert await server.round(world, first) == 3
    farthest = 0.0
    for changed in noisy(world, 60, seed):
        decision = decide(changed, Policy())
        assert decision.round == world.round
        assert await server.round(changed, decision) == 0
        farthest = max(farthest, prices_apart(first, decision))
    assert farthest > 0.3, "the noise does reach the prices"


PRICED = (replace(A100, price_per_hour=1.0, watts=300.0), replace(H100, price_per_hour=2.5, watts=700.0))
LIMITED = replace(WORLD, flavors=PRICED, queues=(queue("red", quota(8), budget_per_hour=10.0, power_cap_watts=5000.0),))


def repriced(decision: Decision, price: float) -> Decision:
    return replace(decision, cap_use=tuple(replace(use, price=price) for use in decision.cap_use))


async def test_limits_and_fairness_stand_in_the_statuses() -> None:
    server = Server("red")
    decision = decide(LIMITED, Policy(budget_per_hour=100.0))
    await server.round(LIMITED, decision)
    red, policy = server.status(kinds.QUEUE_KIND, "red"), server.status(kinds.POLICY, "default")
    assert (red["budget"]["limit"], red["budget"]["used"]) == (10.0, 10.0)
    assert red["budget"]["price"] == pytest.approx(decision.cap_use[1].price, rel=1e-3)
    assert red["budget"]["price"] > 0
    assert red["power"] == {"limit": 5000.0, "used": 2800.0, "price": 0.0}
    assert red["dominantShare"] == 0.5
    assert policy["budget"] == {"limit": 100.0, "used": 10.0, "price": 0.0}
    assert "power" not in policy
    assert policy["jainIndex"] == 1.0
    assert parse_queue({"metadata": {"name": "red"}, "spec": {}, "status": red}).status.budget is not None
    told = parse_allocation_policy({"metadata": {"name": "default"}, "spec": {}, "status": policy})
    assert told.status.jain_index == 1.0


async def test_a_limit_that_was_changed_is_written_and_its_price_once_it_lasts() -> None:
    server = Server("red")
    resting = replace(decide(LIMITED, Policy()), round=LIMITED.round)
    assert await server.round(LIMITED, repriced(resting, 0.03)) == 2
    assert await server.round(LIMITED, repriced(resting, 0.035)) == 0
    assert [await server.round(LIMITED, repriced(resting, 0.06)) for _ in range(STEADY_ROUNDS)] == [
        *[0] * (STEADY_ROUNDS - 1),
        1,
    ]
    assert server.status(kinds.QUEUE_KIND, "red")["budget"]["price"] == 0.06
    higher = tuple(replace(use, limit=11.0) if use.kind is Kind.BUDGET else use for use in resting.cap_use)
    assert await server.round(LIMITED, replace(repriced(resting, 0.06), cap_use=higher)) == 1


async def test_the_jain_index_alone_is_no_reason_to_write() -> None:
    server = Server("red")
    resting = replace(decide(LIMITED, Policy()), round=LIMITED.round)
    assert await server.round(LIMITED, resting) == 2
    for jain in (0.2, 0.4, 0.9):
        assert await server.round(LIMITED, replace(resting, fairness=replace(resting.fairness, jain=jain))) == 0


async def test_amounts_beyond_the_schema_are_cut() -> None:
    """A status that the API server refuses would tell nothing."""
    server = Server("red")
    resting = decide(LIMITED, Policy())
    huge = tuple(replace(use, used=1e300, price=1e300) for use in resting.cap_use)
    plan = replace(resting.plan, objective=-1e300, bound=-1e299)
    await server.round(LIMITED, replace(resting, cap_use=huge, plan=plan))
    red, policy = server.status(kinds.QUEUE_KIND, "red"), server.status(kinds.POLICY, "default")
    parse_queue({"metadata": {"name": "red"}, "spec": {}, "status": red})
    parse_allocation_policy({"metadata": {"name": "default"}, "spec": {}, "status": policy})
    assert (red["budget"]["used"], policy["objective"], policy["bound"]) == (1e15, -1e15, -1e15)
