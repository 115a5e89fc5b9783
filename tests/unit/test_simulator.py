"""The simulator against traces worked out by hand, and against what must be conserved."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from random import Random

import pytest

from apportion.model.curves import Points, Usl
from apportion.model.eligibility import free_now
from apportion.model.jobs import Admission, FlavorChoice, Memory, Pod
from apportion.model.policy import Mode, Policy
from apportion.model.selection import NodeChoice
from apportion.model.snapshot import Snapshot
from apportion.simulator import Arrival, Course, Noise, Rules, Scheduler, Step, anywhere, least_allocated, play, tally
from builders import GPU, job, node, nodes, queue, quota, snapshot

LINEAR = Usl(1.0, 0.0)
HOUR = 3600.0


def comes(name: str, at: float, work: float, low: int = 1, high: int = 8, each: int = 1, **fields: object) -> Arrival:
    """A job that scales perfectly: `work` is in replica-seconds on an H100. A restart costs a minute."""
    spec = job(name, low, high, each, curve=LINEAR, restart_seconds=60.0, **fields)
    return Arrival(at, spec, work, LINEAR)


def empty(*on: object, **fields: object) -> Snapshot:
    return snapshot(on=on or nodes(1), now=0.0, round=0, **fields)


def steps(start: Snapshot, *arrivals: Arrival, **course: float) -> Iterator[Step]:
    return play(start, arrivals, Rules(Policy()), Scheduler(least_allocated, Random(1)), Course(**course))


def test_two_jobs_on_one_node_by_hand() -> None:
    """a alone has all 8 GPUs; b comes at 600, both have 4; a has 8 again when b is done.

    a does 600 * 8 = 4,800; stands still until 660; does 4 a second until 4,260, 14,400; stands still until 4,320; the
    remaining 28,800 - 19,200 = 9,600 take 1,200 s with 8: done at 5,520. b starts in the second wave, at 605, and its
    14,400 take 3,600 s with 4: done at 4,205, which is seen in the round of 4,260.
    Lost: 4 GPUs for 60 s, the 4 pods that leave for 5 s, 8 GPUs for 60 s: 740. Idle: 4 GPUs from 4,205 to 4,260: 220.
    Used is the work itself, 43,200, since a GPU does one unit in a second.
    """
    report = tally(steps(empty(), comes("a", 0.0, 8 * HOUR), comes("b", 600.0, 4 * HOUR)))
    assert {one.key.name: (one.ended, one.restarts) for one in report.finished} == {"a": (5520.0, 2), "b": (4205.0, 0)}
    account = report.account
    assert (account.used, account.lost, account.idle) == pytest.approx((43_200, 740, 220))
    assert account.capacity == pytest.approx(8 * 5520)
    # Alone a would take 3,600 s, b 1,800 s.
    assert report.normalised_rate == pytest.approx((3600 / 5520 + 1800 / 3605) / 2)
    assert report.lost_share == pytest.approx(740 / 43_940)


def test_a_gang_that_does_not_fit_queues_until_it_does() -> None:
    """a holds all 8 as its minimum until 800; b comes at 50, needs 8, and starts in the round of 840."""
    report = tally(steps(empty(), comes("a", 0.0, 6400, 8), comes("b", 50.0, 800, 8)))
    assert [(one.ended, one.queued, one.restarts) for one in report.finished] == [(800, 0, 0), (940, 790, 0)]


def test_an_evicted_job_pays_its_restart_when_it_comes_back() -> None:
    """A higher class takes a's place from 600 to 700. a has done 600 * 8 of its 8,000 and comes back in the round of
    720 (the pods of the other are gone since 705): it works from 780 on, and the other 3,200 take 400 s."""
    team = queue("team", quota(8))
    jobs = comes("a", 0.0, 8000, 8, queue_name="team"), comes("z", 600.0, 760, 8, queue_name="team", priority=9)
    report = tally(steps(empty(queues=(team,)), *jobs))
    assert [(one.key.name, one.ended, one.restarts) for one in report.finished] == [("z", 700.0, 0), ("a", 1180.0, 1)]


def test_a_slower_flavor_takes_longer() -> None:
    """An A100 has half the speed: 8 replicas do 4 a second."""
    report = tally(steps(empty(node("n", flavor="a100")), comes("a", 0.0, 4000)))
    assert report.finished[0].ended == pytest.approx(1000)


def test_what_a_policy_is_told_is_not_what_is_true() -> None:
    """It is told of perfect scaling and gives 8; in truth no more than two replicas work."""
    lying = Arrival(0.0, job("a", 1, 8, curve=LINEAR), 200.0, Points(((1, 1.0), (2, 2.0))))
    report = tally(steps(empty(), lying))
    assert report.finished[0].ended == pytest.approx(100)
    assert report.account.used == pytest.approx(800)


def worlds(seed: int, count: int = 25) -> list[Arrival]:
    random = Random(seed)
    at, found = 0.0, []
    for number in range(count):
        at += random.expovariate(1 / 240)
        low = random.choice((1, 1, 2))
        each = random.choice((1, 1, 2, 4))
        truth = Usl(1.0, random.uniform(0.0, 0.1))
        spec = job(
            f"j{number:02}", low, low * random.choice((1, 2, 4)), each, curve=truth, restart_seconds=60.0,
            min_runtime_seconds=random.choice((0.0, 300.0)),
            flavors=(FlavorChoice("a100", 0.5), FlavorChoice("h100")),
        )  # fmt: skip
        found.append(Arrival(at, spec, random.expovariate(1 / 1800) * low, truth))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_made_and_nothing_is_overfull(seed: int) -> None:
    """Work done is the integral of the true rates; accelerator-seconds in are used, lost or idle; no pod waits."""
    arrivals = {one.job.key: one for one in worlds(seed)}
    start = empty(*nodes(2), *nodes(2, 4, "a100"))
    flavors = {flavor.name: flavor for flavor in start.flavors}
    rounds, finished = 0, []
    game = play(start, arrivals.values(), Rules(Policy()), Scheduler(anywhere, Random(seed)), Course(noise=Noise(0.1)))
    for step in game:
        rounds += 1
        now = step.world.snapshot
        account = step.world.account
        assert account.used + account.lost + account.idle == pytest.approx(account.capacity, abs=1e-3)
        assert account.capacity == pytest.approx(24 * now.now)
        assert all(amounts[GPU] >= 0 for amounts in free_now(now).values())
        for one in now.jobs:
            bound = [pod for pod in one.pods if pod.node is not None and not pod.terminating]
            assert len(bound) == (one.admission.replicas if one.admission else 0), "a granted pod found no room"
            if one.admission:
                assert one.admission.replicas in one.steps
                assert {flavors[one.admission.flavor].name} == {pod.node.rsplit("-", 1)[0] for pod in bound if pod.node}
        finished += step.done
    assert {done.entry.arrival.job.key for done in finished} == arrivals.keys()
    for done in finished:
        assert done.entry.done == pytest.approx(done.entry.arrival.work)
    assert rounds == step.world.account.decisions


def test_work_done_is_the_integral_of_the_true_rate() -> None:
    """Summed up here from what each step shows of one job among others: its pods, its flavor, when it was changed."""
    arrivals = worlds(2)
    watched = next(one for one in arrivals if one.job.maximum > 4)
    rate = done = stalled = 0.0
    before: tuple[float, object] = (0.0, None)
    for step in play(empty(*nodes(2)), arrivals, Rules(Policy()), Scheduler(least_allocated, Random(3))):
        end = next((one.at for one in step.done if one.entry.arrival is watched), step.world.now)
        done += rate * max(0.0, end - max(before[0], stalled))
        mine = next((one for one in step.world.snapshot.jobs if one.key == watched.job.key), None)
        if mine is None and done:
            break
        grant = (mine.admission.flavor, mine.admission.replicas) if mine and mine.admission else None
        if before[1] is not None and grant != before[1]:
            stalled = step.world.now + 60.0
        rate = watched.truth.at(grant[1]) * (0.5 if grant[0] == "a100" else 1.0) if grant else 0.0
        before = step.world.now, grant
    assert done == pytest.approx(watched.work)


def test_the_same_seed_plays_the_same() -> None:
    def play_once(seed: int) -> list[object]:
        course = Course(noise=Noise(0.1), seed=seed)
        noisy = play(empty(*nodes(2)), worlds(1, 12), Rules(Policy()), Scheduler(anywhere, Random(seed)), course)
        return [(step.world.snapshot, step.world.account) for step in noisy]

    first = play_once(1)
    assert first == play_once(1)
    assert first != play_once(2)


def test_a_measured_rate_is_off_by_the_noise_over_the_root_of_the_window() -> None:
    """10 % over ten rounds is 3.2 %; the truth stays hidden, and the speeds of listed flavors are measured too."""
    still = [
        Arrival(0.0, replace(one.job, key=one.job.key._replace(name=f"s{at}")), inf, one.truth)
        for at, one in enumerate(worlds(5, 40))
    ]
    game = play(
        empty(*nodes(1)), still, Rules(Policy(mode=Mode.FREEZE)), Scheduler(anywhere, Random(1)),
        Course(noise=Noise(0.1), until=900.0),
    )  # fmt: skip
    last = list(game)[-1].world.snapshot
    off = [seen.curve.at(step) / one.truth.at(step) - 1 for seen, one in
           zip(last.jobs, sorted(still, key=lambda one: one.job.key), strict=True) for step in seen.steps]  # fmt: skip
    spread = (sum(error**2 for error in off) / len(off)) ** 0.5
    assert 0.025 < spread < 0.04
    speeds = {choice.speed for seen in last.jobs for choice in seen.flavors or () if choice.name == "a100"}
    assert len(speeds) == len(last.jobs)
    assert all(abs(speed / 0.5 - 1) < 0.2 for speed in speeds if speed is not None)


def test_min_runtime_keeps_an_equal_away() -> None:
    """a was admitted at 0 and is left alone for 1,000 s: b, which would have half, waits until the round of 1,020."""
    for least, starts in ((0.0, 605.0), (1000.0, 1025.0)):
        came = comes("a", 0.0, 80_000, min_runtime_seconds=least), comes("b", 600.0, 8000)
        game = steps(empty(), *came, until=1200.0)
        first = next(step.world.now for step in game for one in step.world.snapshot.jobs
                     if one.key.name == "b" and one.admission)  # fmt: skip
        assert first == starts


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="before"):
        list(steps(empty(), comes("a", 10.0, 1.0), comes("b", 5.0, 1.0)))
    with pytest.raises(ValueError, match="is there already"):
        list(steps(empty(), comes("a", 10.0, 1e9), comes("a", 90.0, 1.0)))


def test_nobody_left_ends_it_and_unchanged_input_is_not_decided_again() -> None:
    """A job of an hour alone at its maximum: a decision when it comes, and one when it is done."""
    played = list(steps(empty(), comes("a", 30.0, 8 * HOUR)))
    assert [step.world.now for step in played] == [60.0, 3660.0]


def plainly_bound(of: Snapshot, random: Random) -> dict[str, str]:
    """By pod its node: in a random order, each to one of the least full nodes of its zone with room."""
    left = {each.name: each.allocatable[GPU] for each in of.nodes}
    pods = [(one, pod) for one in of.jobs for pod in one.pods]
    random.shuffle(pods)
    where = {}
    for one, pod in pods:
        zone = dict(one.nodes.selector).items()
        able = [n for n in of.nodes if zone <= n.labels.items() and left[n.name] >= one.per_replica]
        if able:
            full = {n.name: 1 - left[n.name] / n.allocatable[GPU] for n in able}
            name = random.choice([name for name, much in full.items() if much == min(full.values())])
            left[name] -= one.per_replica
            where[pod.name] = name
    return where


@pytest.mark.parametrize("seed", range(20))
def test_each_pod_goes_to_a_least_full_node_of_those_that_have_room(seed: int) -> None:
    random = Random(seed)
    on = tuple(replace(node(f"n{at}", random.choice((2, 4, 8))), labels={"zone": str(at % 2)}) for at in range(6))
    granted = Memory(admission=Admission("h100", 3, 1, 0.0))
    shapes = [
        job(f"j{at}", 1, 9, random.choice((1, 2, 4)), nodes=NodeChoice(zone), memory=granted)
        for at, zone in enumerate(random.choices(((), (("zone", "0"),)), k=7))
    ]
    jobs = [
        replace(one, pods=tuple(Pod(f"{one.key.name}-{at}", "", None, one.requests, 0.0) for at in range(3)))
        for one in shapes
    ]
    of = snapshot(*jobs, on=on)
    after = Scheduler(least_allocated, Random(seed)).bind(of)
    found = {pod.name: pod.node for one in after.jobs for pod in one.pods if pod.node is not None}
    assert found == plainly_bound(of, Random(seed))
    assert 0 < len(found) < 21
