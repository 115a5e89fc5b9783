"""apportion plan --what-if and apportion explain on files: what they print, and how they refuse."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from apportion.cli.explain import change_sentence, row_words, step_sentence
from apportion.cli.main import cli
from apportion.cli.whatif import difference_sentence
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.selection import NodeChoice
from apportion.optimizer import RowUse, Step
from apportion.planner import decide
from apportion.planner.changes import JobChange
from apportion.planner.decide import wanted
from apportion.planner.whatif import Interval, what_if
from apportion.planner.worth import one_change
from builders import job, node, queue, quota, snapshot

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TWO = str(EXAMPLES / "two-flavors.yaml")
SMALL = str(EXAMPLES / "small-cluster.yaml")
NEW = str(EXAMPLES / "new-job.yaml")


def ran(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(words), input=text, env={"COLUMNS": "200"})


def lines(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def asked(*changes: str, file: str = TWO, output: str = "table") -> list[str]:
    return [word for change in changes for word in ("--what-if", change)] + ["-f", file, "-o", output]


def document(*changes: str, file: str = TWO) -> Any:
    done = ran("plan", *asked(*changes, file=file, output="json"))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def effects(found: Any) -> dict[str, tuple[str, int, int]]:
    return {job["name"]: (job["effect"], job["before"]["replicas"], job["after"]["replicas"]) for job in found["jobs"]}


def test_the_table_says_who_gains_and_what_it_is_worth() -> None:
    said = lines(ran("plan", *asked("add 1 node like gpu-0001")))
    assert said[0] == "what if: add 1 node like gpu-0001"
    assert "product/ranker 2 h100 4 h100 gains 4 of at most 4 on h100" in said
    assert "3 other jobs: no difference" in said
    assert any(re.fullmatch(r"h100 0\.0214\d* 0\.0124\d*", line) for line in said), "prices before and after"
    assert any(re.fullmatch(r"before: Optimal, value [\d.]+, at most [\d.]+ is possible", line) for line in said)
    assert any(re.fullmatch(r"difference: all jobs together are worth 0\.13\d+ more", line) for line in said)


def test_who_loses_is_told_as_well_and_why() -> None:
    said = lines(ran("plan", *asked("drain gpu-0003")))
    assert any(line.startswith("product/ranker 2 h100 1 h100 loses 1 of at most 4") for line in said)
    assert any(
        line.startswith("difference: all jobs together are worth 0.31") and line.endswith("less") for line in said
    )


def test_several_changes_are_made_together_one_after_the_other() -> None:
    """Each alone does nothing for llama: its queue has no quota left, and the nodes have no room."""
    quota, node = "queue research nominalQuota h100=16", "add 1 node like gpu-0001"
    assert effects(document(quota)) == {}
    assert "llama" not in effects(document(node))
    assert effects(document(quota, node))["llama"][0] == "gains"
    assert effects(document(node, "drain gpu-0001-added-1")) == {}, "what is drained was added a moment before"


def test_json_and_yaml_are_the_same_document() -> None:
    done = ran("plan", *asked("tj/ranker maxReplicas=1", output="yaml"))
    found = yaml.safe_load(done.stdout)
    other = document("tj/ranker maxReplicas=1")
    assert found == other
    assert (found["kind"], found["changes"]) == ("WhatIf", ["tj/ranker maxReplicas=1"])
    assert effects(found) == {"ranker": ("loses", 2, 1)}
    assert (found["unchanged"], len(found["jobs"])) == (3, 1)
    assert found["difference"]["low"] <= found["difference"]["high"] < 0
    assert found["difference"]["determined"]
    assert found["before"]["objective"] <= found["before"]["bound"]


def test_a_submitted_job_takes_part_as_if_it_had_been_applied_a_moment_ago() -> None:
    found = document(f"submit {NEW}")
    assert effects(found) == {"tuning": ("gains", 0, 4), "llama": ("loses", 8, 4)}
    at = ["--at", "2026-12-01T08:00:00Z", "-o", "json"]
    done = ran("plan", "-f", TWO, "--what-if", f"submit {NEW}", *at)
    text = Path(NEW).read_text().replace("namespace: research}", "namespace: research, creationTimestamp: %s}")
    added = ran("plan", "-f", TWO, "-f", "-", *at, text=text % '"2026-12-01T08:00:00Z"')
    after, wanted = json.loads(done.stdout)["after"], json.loads(added.stdout)
    assert (after["objective"], after["bound"]) == (wanted["objective"], wanted["bound"])


def test_what_cannot_be_compared_is_not() -> None:
    """Three jobs instead of two share the queue's weight: each counts for less."""
    for change in (f"submit {NEW}", "tj/llama suspend=true", "queue product weight=2", "tj/llama minReplicas=4"):
        found = document(change)["difference"]
        assert (found["comparable"], found["determined"]) == (False, False), change
    said = lines(ran("plan", *asked("queue product weight=2")))
    assert any(line.startswith("difference: not comparable") for line in said)
    assert document("tj/llama maxReplicas=20")["difference"]["comparable"]


def test_no_difference_is_said_in_one_line() -> None:
    said = lines(ran("plan", *asked("tj/speech maxReplicas=6")))
    assert "4 jobs: no difference" in said
    assert "difference: none; all jobs together are worth the same" in said


def test_a_what_if_goes_with_another_rule() -> None:
    done = ran("plan", "--policy", "fifo", *asked("drain gpu-0003"))
    assert any("loses" in line for line in lines(done))


BAD: dict[str, str] = {
    "": "expected one of 'queue NAME nominalQuota FLAVOR=N', 'queue NAME weight=N', 'tj/NAME FIELD=VALUE', "
    "'add N nodes like NODE', 'drain NODE', 'submit FILE'",
    "drian gpu-0001": "expected one of 'queue NAME .*', 'submit FILE'; did you mean 'drain'\\?",
    "queue": "expected 'queue NAME nominalQuota FLAVOR=N' or 'queue NAME weight=N'",
    "queue reserch weight=2": "there is no Queue 'reserch'; did you mean 'research'\\?",
    "queue x weight=2": "there is no Queue 'x'; there is product, research",
    "queue research nominalQuota": "expected FLAVOR=N after nominalQuota, for example nominalQuota h100=16",
    "queue research nominalQuota h10=3": "there is no flavor 'h10'; did you mean 'h100'\\?",
    "queue research nominalQuota h100=-1": "nominalQuota h100: expected a whole number from 0 to 10000000, not '-1'",
    "queue research nominalQuota h100=none": "nominalQuota h100: expected a whole number from 0 to .*, not 'none'",
    "queue research nominalQuota h100": "expected FLAVOR=N without spaces, not 'h100'",
    "queue research nominalQuotas h100=3": "expected weight=N, or one of .*; did you mean 'nominalQuota'\\?",
    "queue research lendingLimit h100=9": "expected a lendingLimit of at most the nominalQuota: .* 9 of 8 h100",
    "queue research weight=0": "weight: expected a number above 0, at most 1000000, not '0'",
    "queue research heavy=2": "expected weight=N or a limit like nominalQuota FLAVOR=N, not 'heavy=2'",
    "tj/lama suspend=true": "there is no TrainingJob 'lama'; did you mean 'llama'\\?",
    "tj/llama": "expected FIELD=VALUE after tj/llama, FIELD one of minReplicas, maxReplicas, .*",
    "tj/llama maxReplica=3": "expected a field among .*, not 'maxReplica'; did you mean 'maxReplicas'\\?",
    "tj/llama maxReplicas=٣": "maxReplicas: expected a whole number from 1 to 100000, not '٣'",
    "tj/llama maxReplicas=1e3": "maxReplicas: expected a whole number from 1 to 100000, not '1e3'",
    "tj/llama suspend=yes": "suspend: expected true or false, not 'yes'",
    "tj/llama suspend=true suspend=false": "expected each field once; suspend stands twice",
    "tj/llama replicaSteps=4,2": "replicaSteps: expected rising numbers without repeats, like 2,4,8, not '4,2'",
    "tj/llama maxReplicas=1": "expected minReplicas not above maxReplicas: research/llama would have 2 and 1",
    "tj/llama queueName=reserch": "there is no Queue 'reserch'; did you mean 'research'\\?",
    "add 0 nodes like gpu-0001": "a number of nodes: expected a whole number from 1 to 10000, not '0'",
    "add 2 gpus": "expected 'add N nodes like NODE'",
    "add 2 nodes like gpu-1": "there is no node 'gpu-1'; did you mean 'gpu-0001'\\?",
    "drain gpu-0009": "there is no node 'gpu-0009'; did you mean 'gpu-000\\d'\\?",
}


@pytest.mark.parametrize("change", BAD)
def test_a_change_that_is_not_understood_ends_with_code_2_and_one_line(change: str) -> None:
    done = ran("plan", *asked(change))
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(f"error: --what-if {re.escape(repr(change))}: {BAD[change]}\n", done.stderr), done.stderr


def test_a_list_of_steps_does_not_grow_by_itself() -> None:
    done = ran("plan", *asked("tj/llama-sft maxReplicas=32", file=SMALL))
    assert done.exit_code == 2
    assert "expected replicaSteps too: research/llama-sft has the steps 4,8,16" in done.stderr
    assert "for example replicaSteps=4,8,16,32" in done.stderr
    assert ran("plan", *asked("tj/llama-sft replicaSteps=4,8,16,32", file=SMALL)).exit_code == 0
    refused = ran("plan", *asked("tj/llama-sft maxReplicas=7", file=SMALL)).stderr
    assert "the steps 4,8,16, and keeps them; for example replicaSteps=4,7" in refused
    found = document("tj/llama-sft maxReplicas=7 replicaSteps=4,7", file=SMALL)
    assert effects(found)["llama-sft"] == ("loses", 8, 7)
    refused = ran("plan", *asked("tj/llama-sft maxReplicas=7 replicaSteps=4,8", file=SMALL)).stderr
    assert "between minReplicas and maxReplicas: research/llama-sft would have 4,8 with 4 and 7" in refused
    many = ",".join(map(str, range(4, 69)))
    assert "expected at most 64 replicaSteps" in ran("plan", *asked(f"tj/ads replicaSteps={many}")).stderr


@pytest.mark.parametrize("steps", [[1, 2], [2], [1, 2, 3]])
def test_a_list_without_gaps_is_a_list_too(steps: list[int], write: Callable[[list[Any]], str]) -> None:
    """Only the object tells that there is one: the counts alone are those of a job without."""
    file = write(altered("ads", minReplicas=1, maxReplicas=3, replicaSteps=steps))
    for change in ("maxReplicas=4", "maxReplicas=1"):
        done = ran("plan", *asked(f"tj/ads {change} minReplicas=1", file=file))
        assert (done.exit_code, "expected replicaSteps too" in done.stderr) == (2, True), done.stderr
    longer = ",".join(map(str, [*steps, 4]))
    assert ran("plan", *asked(f"tj/ads maxReplicas=4 replicaSteps={longer}", file=file)).exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: [", "job.yaml: document 1: "),
        (Path(SMALL).read_text(), "job.yaml: expected TrainingJobs alone, found AllocationPolicy, Node, Queue"),
        (
            yaml.safe_dump(next(d for d in yaml.safe_load_all(Path(TWO).read_text()) if d["kind"] == "TrainingJob")),
            "expected a new job: there is a TrainingJob 'research/llama' already",
        ),
    ],
)
def test_a_file_that_cannot_be_submitted_ends_with_code_2(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(text)
    done = ran("plan", *asked("submit job.yaml"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert "expected a readable file" in ran("plan", *asked("submit nowhere.yaml")).stderr


def test_a_job_of_two_namespaces_needs_its_own(tmp_path: Path) -> None:
    other = Path(NEW).read_text().replace("namespace: research", "namespace: product").replace("tuning", "llama")
    (tmp_path / "other.yaml").write_text(other)
    files = ["-f", str(tmp_path / "other.yaml")]
    done = ran("plan", *asked("tj/llama suspend=true"), *files)
    assert "expected the namespace too, tj/product/llama or tj/research/llama: 2 TrainingJobs are named" in done.stderr
    assert ran("plan", *asked("tj/product/llama suspend=true"), *files).exit_code == 0


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


def altered(name: str, **spec: Any) -> list[Any]:
    """The example with other fields in one job's spec."""
    found = list(yaml.safe_load_all(Path(TWO).read_text()))
    for raw in found:
        if raw["metadata"]["name"] == name:
            raw["spec"].update(spec)
    return found


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[Any]], str]:
    def write(documents: list[Any]) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write


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


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (Interval(0.25, 0.25), "difference: all jobs together are worth 0.25 more"),
        (Interval(0.2, 0.3), "difference: all jobs together are worth between 0.2 and 0.3 more"),
        (Interval(-0.3, -0.2), "difference: all jobs together are worth between 0.2 and 0.3 less"),
        (Interval(-0.1, 0.2), "difference: undetermined; the best plans differ by something between -0.1 and +0.2"),
        (Interval(0.0, 0.2), "difference: undetermined; the best plans differ by something between +0 and +0.2"),
        (Interval(0.0, 0.0), "difference: none; all jobs together are worth the same"),
        (
            Interval(float("-inf"), float("inf")),
            "difference: undetermined; one of the two plans could not be made, or not all moves were open to both",
        ),
    ],
    ids=str,
)
def test_an_interval_that_holds_0_determines_nothing(interval: Interval, says: str) -> None:
    assert difference_sentence(interval) == says
    assert interval.determined == says.endswith(("more", "less"))
    assert not replace(interval, comparable=False).determined


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
