"""apportion explain on files: what binds a job, what its next step is worth, and what would give it more."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from apportion.cli.explain import change_sentence, row_words, step_sentence
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.selection import NodeChoice
from apportion.optimizer import RowUse, Step
from apportion.planner import decide
from apportion.planner.changes import JobChange
from apportion.planner.decide import wanted
from apportion.planner.whatif import what_if
from apportion.planner.worth import one_change
from builders import job, node, queue, quota, snapshot
from unit.asking import SMALL, TWO, altered, document, effects, lines, ran


def explained(job: str, file: str = TWO) -> list[str]:
    namespace, name = job.split("/")
    found = lines(ran("explain", f"tj/{name}", "-n", namespace, "-f", file))
    assert len(found) <= 8
    return found


def test_explain_sets_the_gain_of_the_next_step_against_what_others_would_lose() -> None:
    (step,) = [line for line in explained("research/llama") if line.startswith("next step: ")]
    assert re.fullmatch(
        r"next step: 9 replicas \(1 more h100\) gain 0\.0176; others would lose 0\.0214 "
        r"\(for room on h100 nodes\)",
        step,
    )


def test_explain_says_what_is_worth_it_but_does_not_fit_whole() -> None:
    (step,) = [line for line in explained("research/vision", SMALL) if line.startswith("next step: ")]
    assert "worth it, but it does not fit whole (" in step
    assert "room on h100 nodes" in step


def test_explain_says_when_the_free_room_does_not_lie_together(write: Callable[[list[Any]], str]) -> None:
    """Three of half a node's CPU leave half a node twice, or one and a half: three quarters fit once, by rows twice."""
    found = []
    for raw in yaml.safe_load_all(Path(TWO).read_text()):
        if raw["kind"] == "TrainingJob":
            cpu = {"llama": "144", "ads": "96"}.get(raw["metadata"]["name"])
            if cpu is None:
                continue
            (container,) = raw["spec"]["template"]["spec"]["containers"]
            container["resources"]["requests"] = {"cpu": cpu, "memory": "200Gi"}
            raw["spec"] |= {"minReplicas": 1} if cpu == "144" else {"minReplicas": 3, "maxReplicas": 3}
            raw["spec"]["accelerators"] = {"flavors": [{"name": "h100"}]}
        found.append(raw)
    (step,) = [line for line in explained("research/llama", write(found)) if line.startswith("next step: 2 replicas")]
    assert step.endswith("worth it, but it does not fit whole (the free room does not lie together on nodes)")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("capacity/h100/1", "room on h100 nodes"),
        ("capacity/h100.2/8", "room in blocks of 8 on h100 nodes"),
        ("capacity/h100/memory=1", "memory on h100 nodes"),
        ("capacity/h100/4+cpu=8000+memory=1", "room in blocks of 4 with cpu, memory on h100 nodes"),
        ("quota/red/h100", "quota of queue red for h100"),
        ("cohort/lab/h100", "quota of cohort lab for h100"),
        ("ceiling/red/h100", "what queue red may borrow of h100"),
        ("budget/", "the budget of the cluster"),
        ("budget/red", "the budget of queue red"),
        ("power/", "the power cap of the cluster"),
        ("power/red", "the power cap of queue red"),
        ("nominal/red/h100", "nominal quota of queue red for h100 (it is not preemptible)"),
    ],
)
def test_rows_of_the_program_have_words(row: str, words: str) -> None:
    assert row_words(RowUse(row, 0.1, 0.0)) == words


def test_explain_names_one_change_and_says_that_it_was_solved_again() -> None:
    (more,) = [line for line in explained("product/ranker") if line.startswith("more with: ")]
    assert more == 'more with: "add 1 node like gpu-0001" gives it 4 h100 instead of 2 h100 (certain: solved again)'
    sentence = re.findall('"(.*)"', more)[0]
    assert effects(document(sentence))["ranker"] == ("gains", 2, 4)


def test_explain_names_a_node_with_its_quota_where_neither_does_alone() -> None:
    (more,) = [line for line in explained("research/llama") if line.startswith("more with: ")]
    assert more == (
        'more with: "add 1 node like gpu-0001" with "queue research nominalQuota h100=16" gives it 12 h100 '
        "instead of 8 h100 (certain: solved again)"
    )
    assert effects(document(*re.findall('"(.*?)"', more)))["llama"] == ("gains", 8, 12)


def test_explain_says_when_nothing_that_was_tried_would_do() -> None:
    (more,) = [line for line in explained("research/llama-sft", SMALL) if line.startswith("more with: ")]
    assert re.fullmatch(
        r"more with: none of \d+ changes that were tried; try several together with plan --what-if", more
    )
    (more,) = [line for line in explained("research/speech") if line.startswith("more with: ")]
    assert 'not "tj/research/speech maxReplicas=5" alone' in more


def test_explain_tells_the_owner_of_a_suspended_job_to_start_it(write: Callable[[list[Any]], str]) -> None:
    said = explained("product/ads", write(altered("ads", suspend=True)))
    (more,) = [line for line in said if line.startswith("more with: ")]
    assert more.startswith('more with: "tj/product/ads suspend=false" gives it ')
    assert more.endswith("instead of nothing (certain: solved again)")


def test_explain_tells_a_job_at_its_maximum_to_raise_it(write: Callable[[list[Any]], str]) -> None:
    said = explained("product/ads", write(altered("ads", maxReplicas=2)))
    assert not [line for line in said if line.startswith("next step: ")]
    assert 'more with: "tj/product/ads maxReplicas=3" gives it 3 h100 instead of 2 h100 (certain: solved again)' in said


def test_explain_goes_on_with_a_list_of_steps_as_it_rises(write: Callable[[list[Any]], str]) -> None:
    found = altered("ads", replicaSteps=[2, 4])
    found = [raw for raw in found if raw["metadata"]["name"] != "ranker"]
    (more,) = [line for line in explained("product/ads", write(found)) if line.startswith("more with: ")]
    assert '"tj/product/ads maxReplicas=8 replicaSteps=2,4,8" gives it 8 h100 instead of 4 h100 (certain' in more


@pytest.mark.parametrize("steps", [[1, 2], [2]])
def test_explain_names_the_list_that_a_larger_maximum_goes_with(
    steps: list[int], write: Callable[[list[Any]], str]
) -> None:
    file = write(altered("ads", minReplicas=1, maxReplicas=2, replicaSteps=steps))
    (more,) = [line for line in explained("product/ads", file) if line.startswith("more with: ")]
    said = ",".join(map(str, [*steps, 3]))
    assert f'"tj/product/ads maxReplicas=3 replicaSteps={said}" gives it 3 h100 instead of 2 h100 (certain' in more


def test_a_step_that_fits_and_pays_is_within_what_a_plan_may_miss() -> None:
    (outcome,) = decide(snapshot(job("one", 1, 4), on=(node("a", 2),)), Policy()).outcomes
    said = step_sentence(job("one", 1, 4), outcome, Step(Grant("h100", 3), 0.125, (RowUse("quota/q/h100", 0.1, 0.0),)))
    assert said == (
        "3 replicas (1 more h100) gain 0.125; others would lose 0.1: worth it, but not more than a plan may miss or "
        "save in changes"
    )


def test_explain_tells_a_gang_that_waits_what_would_let_it_start(write: Callable[[list[Any]], str]) -> None:
    said = explained("research/llama", write(altered("llama", minReplicas=12)))
    assert any(line.startswith("why: QuotaExceeded: needs 12 ") for line in said)
    (more,) = [line for line in said if line.startswith("more with: ")]
    assert "instead of nothing (certain: solved again)" in more


def test_explain_says_when_a_restart_costs_more_than_the_next_step_yields(write: Callable[[list[Any]], str]) -> None:
    found = altered("ads", restartSeconds=3600)
    (ads,) = [raw for raw in found if raw["metadata"]["name"] == "ads"]
    ads["status"] = {"admission": {"flavor": "h100", "replicas": 3, "round": 1, "since": "2025-01-01T00:00:00Z"}}
    said = explained("product/ads", write(found))
    assert any(line.startswith("why: NoCapacity: 3 of at most 4") for line in said)
    assert "next step: no larger size gains anything, after the restart that it costs" in said


@pytest.mark.parametrize(
    ("annotation", "reason"), [("apportion.dev/completed", "MarkedComplete"), ("apportion.dev/hold", "Held")]
)
def test_explain_looks_for_no_change_where_none_would_do(
    annotation: str, reason: str, write: Callable[[list[Any]], str]
) -> None:
    found = altered("ads")
    (ads,) = [raw for raw in found if raw["metadata"]["name"] == "ads"]
    ads["metadata"]["annotations"] = {annotation: "true"}
    ads["status"] = {"admission": {"flavor": "h100", "replicas": 3, "round": 1, "since": "2025-01-01T00:00:00Z"}}
    said = explained("product/ads", write(found))
    assert any(line.startswith(f"why: {reason}: ") for line in said)
    assert not [line for line in said if line.startswith(("next step: ", "more with: "))]


def test_explain_stays_within_eight_lines_where_there_are_many_flavors(write: Callable[[list[Any]], str]) -> None:
    found = altered("llama")
    for number in range(6):
        node = next(raw for raw in found if raw["metadata"]["name"] == "gpu-0004")
        other = yaml.safe_load(yaml.safe_dump(node))
        other["metadata"] = {"name": f"more-{number}", "labels": {"nvidia.com/gpu.product": f"NVIDIA-L{number}"}}
        found.append(other)
    said = explained("research/llama", write(found))
    assert len(said) == 8
    assert [line.split(":")[0] for line in said[1:]] == [
        "now", "planned", "why", "next step", "more with", "elsewhere", "plan"
    ]  # fmt: skip


def test_a_change_whose_worth_cannot_be_told_from_nothing_is_undetermined() -> None:
    """Two like jobs share five accelerators of a node of their own: with one of them smaller the other is larger, for
    the same value."""
    own = NodeChoice(selector=(("kubernetes.io/hostname", "a"),))
    jobs = [job(name, 1, 4, queue_name="q", nodes=own) for name in ("one", "two")]
    only = node("a", 5, labels={"kubernetes.io/hostname": "a"})
    world = snapshot(*jobs, on=(only,), queues=(queue("q", quota(5)),))
    found = wanted(world, Policy())
    assert sorted(grant.replicas for grant in found.targets.values()) == [2, 3]
    larger = next(key for key, grant in found.targets.items() if grant.replicas == 3)
    smaller = next(key for key, grant in found.targets.items() if grant.replicas == 2)
    change = JobChange(larger, (("maxReplicas", 2),))
    swapped = what_if(world, Policy(), [change])
    assert {row.key: row.faster for row in swapped.jobs} == {larger: -1, smaller: 1}
    assert not swapped.difference.determined
    search = one_change(world, Policy(), found, smaller)
    assert search.remedy is not None
    assert (search.remedy.changes, search.remedy.certain) == ((change,), False)
    outcome = next(one for one in swapped.before.outcomes if one.key == smaller)
    assert change_sentence(outcome, search).endswith("(undetermined: too close to tell)")
