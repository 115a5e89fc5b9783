"""What becomes of accelerator-seconds, money and energy; nodes that fail; what is learned of a job; all by hand."""

import math
from dataclasses import replace
from itertools import takewhile
from random import Random

import pytest

from apportion.baselines import BASELINES
from apportion.model.curves import Learned, Usl
from apportion.model.jobs import Target
from apportion.model.policy import Policy
from apportion.simulator import (
    Arrival,
    Bins,
    Contender,
    Course,
    Failures,
    Measuring,
    Mix,
    Report,
    Rules,
    Scheduler,
    Setting,
    Trace,
    difference,
    least_allocated,
    mean,
    play,
    tally,
    trial,
)
from apportion.simulator.account import Account, Room, Use
from apportion.simulator.failures import outages
from apportion.simulator.history import History
from builders import A100, H100, job, node, nodes, queue, quota, snapshot

LINEAR = Usl(1.0, 0.0)
HOUR = 3600.0
PRICED = replace(H100, price_per_hour=2.0, watts=500.0, idle_watts=100.0)


def comes(name: str, at: float, work: float, low: int = 1, high: int = 8, **fields: object) -> Arrival:
    return Arrival(at, job(name, low, high, **{"curve": LINEAR, **fields}), work, LINEAR)


def played(start: object, *arrivals: Arrival, course: Course | None = None, rule: str = "fifo") -> Report:
    rules = Rules(Policy(), BASELINES[rule])
    return tally(play(start, arrivals, rules, Scheduler(least_allocated, Random(1)), course or Course()))  # type: ignore[arg-type]


def test_a_deadline_is_met_by_who_is_done_by_then_and_missed_by_who_never_is() -> None:
    """On 8 GPUs fifo runs an hour's work, and after it a second one; the others never fit."""
    due = [Target(deadline=HOUR, work=8 * HOUR), Target(deadline=2 * HOUR - 1, work=8 * HOUR)]
    one, two = (comes(f"j{n}", n, 8 * HOUR, 8, target=target) for n, target in enumerate(due))
    never = [
        comes(f"n{n}", 2.0, 1.0, 9, 9, target=Target(deadline=at, work=1.0)) for n, at in enumerate((3.0, 4.0, 1e9))
    ]
    start = snapshot(on=nodes(1), now=0.0, round=0)
    assert played(start, one).deadlines_met == 1.0
    assert played(start, one, two).deadlines_met == 0.5
    assert played(start, one, two, *never).deadlines_met == pytest.approx(1 / 4), "the last one's is not over yet"
    assert played(start, comes("a", 0.0, HOUR)).deadlines_met is None


def test_a_deadline_gets_a_job_what_it_needs_and_no_more() -> None:
    """Work of 8 GPU-hours by 2 h 30 min: of 8 replicas that there are 4 are enough, and fewer near the end."""
    goal = Target(deadline=2.5 * HOUR, work=8 * HOUR)
    a = comes("a", 0.0, 8 * HOUR, 1, target=goal, declared=True)
    start = snapshot(on=nodes(1), now=0.0, round=0)
    course = Course(measuring=Measuring(sigma=0.0))
    steps = list(play(start, [a], Rules(Policy()), Scheduler(least_allocated, Random(1)), course))
    crews = [len(step.world.entries[a.job.key].crew) for step in steps if step.world.entries]
    assert crews == sorted(crews, reverse=True)
    assert (crews[0], tally(steps).deadlines_met) == (4, 1.0)


def test_cost_and_energy_by_hand() -> None:
    """8 GPUs work for an hour, are idle for an hour, then 4 work for half an hour: 10 GPU-hours held and 10 idle.

    Money 20 of jobs and 20 for nothing; energy 10 h of 500 W and 10 h of 100 W.
    """
    start = snapshot(on=nodes(1), now=0.0, round=0, flavors=(A100, PRICED), queues=(queue("team", quota(8)),))
    a = comes("a", 0.0, 8 * HOUR, 8, queue_name="team")
    report = played(start, a, comes("b", 2 * HOUR, 2 * HOUR, 4, 4, queue_name="team"))
    assert [one.seconds for one in report.finished] == [HOUR, HOUR / 2]
    assert report.account.uses == {("team", "h100"): Use(10 * HOUR, 0.0)}
    assert report.account.rooms["h100"] == Room(20 * HOUR, 10 * HOUR)
    assert (report.cost, report.cost_of_jobs, report.energy) == pytest.approx((40.0, 20.0, 6.0))
    assert (report.makespan, report.utilisation, report.unfinished) == (2.5 * HOUR, 0.5, 0)
    assert (report.mean_seconds, report.percentile(50), report.percentile(99)) == pytest.approx((2700, 2700, 3582))
    # a and b are alone at their best: 8 of 8, and 4 of 4.
    assert report.fairness == pytest.approx(1.0)


def test_what_restarts_take_is_paid_for_too() -> None:
    """a has 8, b takes 4 of them at 600: the 4 that stay start again for 60 s, the 4 that go are held for 5 s."""
    start = snapshot(on=nodes(1), now=0.0, round=0, flavors=(PRICED,))
    came = (comes("a", 0.0, 1e6, restart_seconds=60.0), comes("b", 600.0, 1e6, restart_seconds=60.0))
    report = played(start, *came, course=Course(until=900.0), rule="max-min")
    assert report.account.lost == pytest.approx(4 * 60 + 4 * 5)
    assert report.account.used == pytest.approx(8 * 600 + 4 * 240 + 4 * 295)
    assert report.cost_of_jobs == pytest.approx((report.account.lost + report.account.used) / HOUR * 2)
    assert report.unfinished == 2


def test_without_a_price_there_is_no_cost() -> None:
    report = played(snapshot(on=nodes(1), now=0.0, round=0), comes("a", 0.0, 800))
    assert (report.cost, report.energy) == (None, None)


def test_jain_is_that_of_the_normalised_rates() -> None:
    """b waits for a: 100 s of 100 s, and 50 s of 100 s alone; (1 + 0.5)^2 / (2 (1 + 0.25))."""
    start = snapshot(on=nodes(1), now=0.0, round=0)
    report = played(start, comes("a", 0.0, 800, 8), comes("b", 50.0, 400, 8), course=Course(every=1.0))
    assert sorted(one.seconds for one in report.finished) == [100.0, 100.0]
    assert report.fairness == pytest.approx(0.9)
    assert [one.waited for one in report.finished] == [0.0, 50.0]


def test_a_job_that_can_never_start_does_not_keep_it_going() -> None:
    """Too large for any node: nothing will change that. Too large for its queue: it is looked at for two hours more."""
    start = snapshot(on=nodes(1), now=0.0, round=0, queues=(queue("small", quota(4)), queue("team", quota(4))))
    whole = replace(start, queues=())
    report = played(whole, comes("a", 0.0, 800, 8), comes("big", 10.0, 800, 16, 16))
    assert (len(report.finished), report.unfinished, report.seconds) == (1, 1, 120.0)
    came = comes("a", 0.0, 400, 4, queue_name="team"), comes("big", 10.0, 800, 8, queue_name="small")
    report = played(start, *came)
    assert (len(report.finished), report.unfinished) == (1, 1)
    assert report.seconds in (120.0, pytest.approx(7320.0, abs=60.0))


STORM = Failures(between=8000.0, repair=900.0, checkpoint=600.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_failing_node_by_hand(seed: int) -> None:
    """One job on one node. It goes back to its last whole 600 s, and starts again a minute after the round that sees
    the node again."""
    work, since, done, vain, restarts, stalls = 8 * 30_000.0, 0.0, 0.0, 0.0, 0, 0.0
    for outage in outages(["n"], STORM, seed):
        if outage.back:
            since, restarts = math.ceil(outage.at / 60) * 60 + 60.0, restarts + 1
        elif since + (work - done) / 8 <= outage.at:
            break
        else:
            worked = max(0.0, outage.at - since)
            done, vain = done + 8 * (worked - worked % 600), vain + 8 * (worked % 600)
            stalls += 8 * min(60.0, outage.at - since + 60.0) if restarts else 0.0
    stalls += 8 * 60.0 if restarts else 0.0
    start = snapshot(on=(node("n"),), now=0.0, round=0)
    only = comes("a", 0.0, work, 8, restart_seconds=60.0, placement_timeout_seconds=1e9)
    report = played(start, only, course=Course(failures=STORM, seed=seed))
    assert [(one.ended, one.restarts) for one in report.finished] == [
        (pytest.approx(since + (work - done) / 8), restarts)
    ]
    assert report.account.outages == restarts
    assert report.account.used == pytest.approx(work)
    assert report.account.lost == pytest.approx(vain + stalls)


def test_capacity_is_that_of_nodes_that_are_up_and_goes_somewhere() -> None:
    """Work on an H100 is one a second for each GPU: what was used is what was done, and nothing else."""
    failures, seed = Failures(between=2 * HOUR, repair=HOUR / 2), 1
    start = snapshot(on=nodes(4), now=0.0, round=0)
    random = Random(seed)
    arrivals = [
        comes(f"j{at}", 120.0 * at, random.expovariate(1 / 30_000), random.choice((1, 2, 4)), restart_seconds=60.0)
        for at in range(10)
    ]
    course = Course(failures=failures, seed=seed)
    steps = play(start, arrivals, Rules(Policy(), BASELINES["max-min"]), Scheduler(least_allocated, random), course)
    finished = 0.0
    for step in steps:
        account, now = step.world.account, step.world.now
        finished += sum(one.entry.arrival.work for one in step.done)
        assert account.used == pytest.approx(finished + sum(entry.done for entry in step.world.entries.values()))
        assert account.used + account.lost + account.idle == pytest.approx(account.capacity)
        up = {one.name: one.placeable for one in step.world.snapshot.nodes}
        assert not [pod for one in step.world.snapshot.jobs for pod in one.pods if pod.node and not up[pod.node]]
    down: dict[str, float] = {}
    whole = 32 * now
    for outage in takewhile(lambda one: one.at <= now, outages(up, failures, seed)):
        if outage.back:
            whole -= 8 * (outage.at - down.pop(outage.node))
        else:
            down[outage.node] = outage.at
    whole -= sum(8 * (now - at) for at in down.values())
    assert account.outages > 0
    assert account.capacity == pytest.approx(whole)


def test_failures_are_exponential_and_each_node_has_its_own() -> None:
    one = list(takewhile(lambda outage: outage.at < 4e6, outages(["a", "b"], STORM, 1)))
    ups = [outage for outage in one if not outage.back]
    # Each cycle is 8,900 s in the mean: 449 of each of two nodes, give or take the root of that.
    assert len(ups) == pytest.approx(2 * 4e6 / 8900, rel=0.1)
    alone = list(takewhile(lambda outage: outage.at < 4e6, outages(["a"], STORM, 1)))
    assert [outage for outage in one if outage.node == "a"] == alone


def test_a_hidden_curve_is_learned_where_the_job_is() -> None:
    """It is told as nearly perfect; once measured, what is known at this size is the truth."""
    truth = Usl(1.0, 0.5)
    hidden = replace(comes("a", 0.0, math.inf), truth=truth)
    steps = list(
        play(
            snapshot(on=nodes(1), now=0.0, round=0), [hidden], Rules(Policy(), BASELINES["fifo"]),
            Scheduler(least_allocated, Random(1)), Course(until=600.0, measuring=Measuring(sigma=0.0)),
        )
    )  # fmt: skip
    first, last = steps[0].world.snapshot.jobs[0], steps[-1].world.snapshot.jobs[0]
    assert first.curve == LINEAR
    assert isinstance(last.curve, Learned)
    assert last.curve.at(8) == pytest.approx(truth.at(8), rel=0.02)


def test_the_progress_of_declared_work_is_told_in_whole_percents() -> None:
    jobs = [comes(name, 0.0, 77_777.0) for name in ("tells", "silent")]
    jobs[0] = replace(jobs[0], job=replace(jobs[0].job, target=Target(work=77_777.0)))
    steps = list(
        play(
            snapshot(on=nodes(2), now=0.0, round=0), jobs, Rules(Policy(), BASELINES["fifo"]),
            Scheduler(least_allocated, Random(1)), Course(until=2000.0, measuring=Measuring(sigma=0.0)),
        )
    )  # fmt: skip
    world = steps[-1].world
    told = {job.key.name: job.memory.record.progress for job in world.snapshot.jobs}
    done = {key.name: entry.done / 77_777.0 for key, entry in world.entries.items()}
    assert 100 * done["tells"] > math.floor(100 * done["tells"]) > 0
    assert told == {"silent": None, "tells": math.floor(100 * done["tells"]) / 100}


def test_the_same_seed_gives_the_same_trial() -> None:
    cluster = snapshot(on=(*nodes(1), *nodes(1, flavor="a100")), now=0.0, round=0)
    course = Course(measuring=Measuring(), failures=Failures(20 * HOUR))
    setting = Setting(cluster, Trace("t", mix=Mix(jobs=6, hours=1.0)), course)
    contender = Contender("max-min", cluster, Policy(), BASELINES["max-min"])
    first = trial(setting, contender, 1)
    assert first == trial(setting, contender, 1)
    assert first.seconds != trial(setting, contender, 2).seconds
    assert first.values["finished"] == len(first.seconds) == 6


def test_time_goes_into_bins_that_grow() -> None:
    """4 GPUs for 600 s, then none for 600 s; then 2 for a hundred days."""
    history = History()
    for now, used in ((600.0, 2400.0), (1200.0, 2400.0)):
        history.add(now, Account(uses={("q", "h100"): Use(used, 0.0)}))
    assert history.bins().means["used", "q"] == (4.0,) * 10 + (0.0,) * 10
    days = 100 * 86_400.0
    history.add(1200.0 + days, Account(uses={("q", "h100"): Use(2400.0 + 2 * days, 0.0)}))
    found: Bins = history.bins()
    assert len(found.means["used", "q"]) <= 512
    *whole, last = found.means["used", "q"]
    assert sum(whole) * found.width + last * (1200.0 + days - len(whole) * found.width) == pytest.approx(
        2400 + 2 * days
    )
    assert last == pytest.approx(2.0)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 pairs of samples of 12 seeds whose true difference is 1; pairing takes the large common part out."""
    random, covered = Random(4), 0
    for number in range(200):
        common = [random.gauss(0, 50) for _ in range(12)]
        first = [base + random.gauss(0, 1) for base in common]
        other = [base + 1 + random.gauss(0, 1) for base in common]
        found = difference(first, other, number)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.high - found.low < 4
        covered += found.low <= 1 <= found.high
    assert 0.85 < covered / 200 < 0.98


def test_few_seeds_have_no_interval_and_missing_values_no_difference() -> None:
    found = difference([1.0, 2.0], [2.0, 4.0])
    assert found is not None
    assert (found.mean, found.low, found.high) == (1.5, None, None)
    assert difference([1.0, None], [1.0, 2.0]) is None
    assert (mean([1.0, 3.0]), mean([1.0, None]), mean([])) == (2.0, None, None)
