"""Traces: what is read, what is refused and how, and what the generator promises."""

import math
from dataclasses import replace

import pytest

from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Usl
from apportion.model.flavors import Flavor
from apportion.model.jobs import Target
from apportion.simulator import (
    Ground,
    Mix,
    NotThat,
    TraceError,
    arrivals,
    generated,
    ground_of,
    mix_of,
    read_rows,
    write_rows,
)
from apportion.simulator.generator import REQUESTS
from builders import nodes, queue, quota, snapshot

HEAD = "job,arrival,min_replicas,max_replicas,accelerators,duration"
CLUSTER = snapshot(on=(*nodes(1), *nodes(1, flavor="a100")), now=0.0, queues=(queue("team", quota(8)),))


def trace(*lines: str, head: str = HEAD) -> str:
    return "\n".join((head, *lines)) + "\n"


def test_a_line_is_a_job_with_its_hidden_curve() -> None:
    head = f"{HEAD},namespace,queue,steps,flavors,sigma,kappa,declared_sigma,declared_work,restart_seconds"
    text = trace(
        "a,10,2,8,4,600,research,team,2;4;8,a100;h100=3,0.1,0.01,0.02,true,30,5,false",
        head=f"{head},priority,preemptible",
    )
    (one,) = arrivals("t.csv", read_rows("t.csv", text), CLUSTER)
    assert (one.at, str(one.job.key), one.job.steps, one.job.per_replica) == (10.0, "research/a", (2, 4, 8), 4)
    assert (one.job.queue_name, one.job.priority, one.job.preemptible, one.job.restart_seconds) == (
        "team",
        5,
        False,
        30,
    )
    assert one.truth == Usl(1.0, 0.1, 0.01)
    assert one.job.curve == Usl(1.0, 0.02, 0.0)
    assert one.job.declared
    assert [(choice.name, choice.speed) for choice in one.job.flavors or ()] == [("a100", None), ("h100", None)]
    speeds = {flavor.name: one.speed(flavor) for flavor in CLUSTER.flavors}
    assert speeds == {"a100": 0.5, "h100": 3.0}
    assert one.job.target == Target(work=one.work)
    # At its minimum, on a flavor of speed 1, it takes its duration.
    assert one.work / one.truth.at(2) == pytest.approx(600)


def test_what_is_not_said_is_as_usual() -> None:
    text = trace("a,0,1,4,1,60,", "b,0,1,4,1,60,GlobalBatch", "", head=HEAD + ",mode")
    a, b = arrivals("t.csv", read_rows("t.csv", text), CLUSTER)
    assert (a.truth, a.job.curve, a.job.declared) == (PER_REPLICA_BATCH, PER_REPLICA_BATCH, False)
    assert a.job.target is None
    assert (b.truth, b.job.curve) == (GLOBAL_BATCH, GLOBAL_BATCH)
    assert (a.job.steps, a.job.flavors, a.job.queue_name, a.job.key.namespace) == ((1, 2, 3, 4), None, None, "default")


def test_a_deadline_is_so_long_after_the_job_comes_and_its_work_is_declared() -> None:
    (one,) = arrivals("t", read_rows("t", trace("a,100,1,4,1,60,90.5", head=HEAD + ",deadline")), CLUSTER)
    assert one.job.target == Target(deadline=190.5, work=one.work)


def test_a_job_larger_than_the_cluster_is_no_error() -> None:
    assert len(arrivals("t", read_rows("t", trace("a,0,4096,4096,8,60")), CLUSTER)) == 1


GOOD = "a,0,1,4,1,60"
WRONG = {
    "nothing": ("", "t.csv, line 1: expected the columns job, arrival, min_replicas, max_replicas, accelerators, dura"),
    "no job": (HEAD, "t.csv: expected at least one job below the header"),
    "a column is missing": (
        "job,arrival,min_replicas,max_replicas,accelerators\na,0,1,1,1",
        "t.csv, line 1: expected the columns duration as well",
    ),
    "a column nobody knows": (trace(f"{GOOD},1", head=HEAD + ",color"), 'line 1: column "color" is not known; expect'),
    "a column twice": (trace(f"{GOOD},1", head=HEAD + ",job"), "line 1: expected column job once"),
    "a cell too few": (trace("a,0,1,4,1"), "line 2: expected 6 cells as in the header, found 5"),
    "time goes back": (
        trace("a,100,1,4,1,60", "b,99.5,1,4,1,60"),
        "line 3, column arrival: expected at least 100, that of the line before, not 99.5: time does not go back",
    ),
    "NaN": (trace("a,nan,1,4,1,60"), 'line 2, column arrival: expected a number from 0 to 3.2e+09, not "nan"'),
    "infinite": (trace("a,0,1,4,1,inf"), "line 2, column duration: expected a number from 0.001 to 3.2e+09"),
    "negative": (trace("a,-1,1,4,1,60"), 'line 2, column arrival: expected a number from 0 to 3.2e+09, not "-1"'),
    "no work": (trace("a,0,1,4,1,0"), "line 2, column duration: expected a number from 0.001"),
    "half a replica": (trace("a,0,1.5,4,1,60"), "column min_replicas: expected a whole number from 1 to 100000"),
    "no replica": (trace("a,0,0,4,1,60"), "column min_replicas: expected a whole number from 1 to 100000"),
    "absurd": (trace("a,0,1,999999999999999999999,1,60"), "column max_replicas: expected a whole number"),
    "min above max": (trace("a,0,4,2,1,60"), "line 2, column max_replicas: expected at least min_replicas, 4, not 2"),
    "empty": (trace(",0,1,4,1,60"), "line 2, column job: expected a value, found nothing"),
    "a name": (trace("A b,0,1,4,1,60"), "column job: expected a name of lower-case letters, digits, - and ."),
    "twice": (trace(GOOD, GOOD), "line 3, column job: expected each job once, a is also in line 2"),
    "steps fall": (
        trace(f"{GOOD},4;1", head=HEAD + ",steps"),
        "column steps: expected rising whole numbers like 1;2;4",
    ),
    "steps end elsewhere": (trace(f"{GOOD},1;2", head=HEAD + ",steps"), "column steps: expected counts from 1 to 4"),
    "an unknown mode": (trace(f"{GOOD},Odd", head=HEAD + ",mode"), "column mode: expected PerReplicaBatch or Global"),
    "sigma": (trace(f"{GOOD},2", head=HEAD + ",sigma"), "column sigma: expected a number from 0 to 1"),
    "yes": (trace(f"{GOOD},yes", head=HEAD + ",preemptible"), "column preemptible: expected true or false"),
    "a speed": (
        trace(f"{GOOD},h100=0", head=HEAD + ",flavors"),
        "column flavors: expected flavors, each once, with spe",
    ),
    "quotes": (trace('a,0,1,4,1,"60'), "expected comma-separated values"),
    "an unknown flavor": (
        trace(f"{GOOD},b200", head=HEAD + ",flavors"),
        "t.csv, line 2, column flavors: expected flavors of the cluster (a100, h100), not b200",
    ),
    "an unknown queue": (
        trace(GOOD + ",", "b,0,1,4,1,60,other", head=HEAD + ",queue"),
        "t.csv, line 3, column queue: expected a queue of the cluster (team), not other",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_column(case: str) -> None:
    text, said = WRONG[case]
    with pytest.raises(TraceError) as error:
        arrivals("t.csv", read_rows("t.csv", text), CLUSTER)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_flavors_of_two_resources_are_no_one_job() -> None:
    cluster = replace(CLUSTER, flavors=(*CLUSTER.flavors, Flavor("gaudi", "habana.ai/gaudi")))
    rows = read_rows("t", trace(f"{GOOD},h100;gaudi", head=HEAD + ",flavors"))
    with pytest.raises(TraceError, match="expected flavors of one resource, found habana"):
        arrivals("t", rows, cluster)


MIX = Mix(jobs=400, hours=48.0, load=1.3, declared=0.5)
GROUND = Ground((("a100", 1.0), ("h100", 2.2)), 102.4, 32, 8, ("team", "other"))


def test_a_generated_trace_reads_back_as_it_is() -> None:
    rows = generated(MIX, GROUND, 7)
    assert read_rows("t", write_rows(rows)) == rows


def test_the_same_seed_gives_the_same_bytes_and_another_others() -> None:
    assert write_rows(generated(MIX, GROUND, 7)) == write_rows(generated(MIX, GROUND, 7))
    assert write_rows(generated(MIX, GROUND, 7)) != write_rows(generated(MIX, GROUND, 8))


def test_the_load_is_what_was_asked_for() -> None:
    """Accelerator-hours of rigid jobs, whose request is their minimum, over those of the cluster."""
    rows = generated(replace(MIX, elastic=0.0), GROUND, 3)
    asked = sum(row.duration * row.min_replicas * row.accelerators for row in rows)
    assert asked / (48 * 3600 * 102.4) == pytest.approx(1.3, rel=0.01)


def test_durations_have_the_tail_requests_the_shares_and_arrivals_the_day() -> None:
    rows = generated(Mix(jobs=6000, hours=240.0, elastic=0.0, load=3.0), GROUND, 5)
    logs = [math.log(row.duration) for row in rows]
    middle = sum(logs) / len(logs)
    assert math.sqrt(sum((log - middle) ** 2 for log in logs) / len(logs)) == pytest.approx(1.8, rel=0.05)
    for size, share in REQUESTS.items():
        found = sum(row.min_replicas * row.accelerators == size for row in rows) / len(rows)
        assert found == pytest.approx(share, abs=0.02)
    day = sum(8 <= row.arrival / 3600 % 24 < 20 for row in rows) / len(rows)
    # The mean of 1 + cos(t - 14 h) / 2 from 8 to 20 h is 1 + 1 / pi.
    assert day == pytest.approx((1 + 1 / math.pi) / 2, abs=0.02)


def test_who_declares_work_changes_nothing_else() -> None:
    silent, half = generated(MIX, GROUND, 7), generated(replace(MIX, sized=0.5), GROUND, 7)
    assert [replace(row, declared_work=False) for row in half] == silent
    assert sum(row.declared_work for row in half) / len(half) == pytest.approx(0.5, abs=0.1)


def test_who_has_a_deadline_changes_nothing_else() -> None:
    """From one to three times what the job takes at its request, which is twice the minimum of an elastic one."""
    sized = replace(MIX, sized=0.5)
    free, half = generated(sized, GROUND, 7), generated(replace(sized, deadlines=0.5), GROUND, 7)
    assert [replace(row, deadline=None) for row in half] == free
    slack = []
    for row in half:
        if row.deadline is not None:
            truth = Usl(1.0, row.sigma or 0.0, row.kappa or 0.0)
            asked = row.min_replicas if row.min_replicas == row.max_replicas else row.max_replicas // 4
            slack.append(row.deadline / (row.duration * truth.at(row.min_replicas) / truth.at(asked)))
    assert len(slack) / len(half) == pytest.approx(0.5, abs=0.1)
    assert 0.99 < min(slack) < 1.1
    assert 2.9 < max(slack) < 3.01


def test_parts_are_as_asked() -> None:
    rows = generated(Mix(jobs=3000, elastic=0.4, shared=0.2, declared=0.1), GROUND, 1)
    assert sum(row.max_replicas > row.min_replicas for row in rows) / 3000 == pytest.approx(0.4, abs=0.03)
    assert sum(row.mode == "GlobalBatch" for row in rows) / 3000 == pytest.approx(0.2, abs=0.03)
    assert sum(row.declared_sigma is not None for row in rows) / 3000 == pytest.approx(0.1, abs=0.03)
    assert {row.queue for row in rows} == {"team", "other"}


def test_the_ground_is_what_jobs_may_use() -> None:
    assert ground_of(CLUSTER) == Ground((("a100", 0.5), ("h100", 1.0)), 12.0, 8, 8, ("team",))


def test_nobody_asks_for_more_than_a_flavor_has() -> None:
    rows = generated(Mix(jobs=300, elastic=0.0), replace(GROUND, most=6, largest=2), 1)
    assert {row.min_replicas * row.accelerators for row in rows} == {1, 2, 4}
    assert {row.accelerators for row in rows} == {1, 2}


def test_a_mix_in_words() -> None:
    assert mix_of("jobs=12, load=1.5") == Mix(jobs=12, load=1.5)
    assert mix_of("") == Mix()
    for text, said in (("size=3", "parameters of jobs"), ("jobs=1,jobs=2", "each once"), ("load=nan", "load=a number")):
        with pytest.raises(NotThat, match=said):
            mix_of(text)
