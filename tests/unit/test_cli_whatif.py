"""apportion plan --what-if on files: what they print, and how they refuse."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from apportion.cli.whatif import difference_sentence
from apportion.planner.whatif import Interval
from unit.asking import NEW, SMALL, TWO, altered, asked, document, effects, lines, ran


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
