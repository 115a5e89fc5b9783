"""apportion plan, explain, crds and version on files: what they print, and how they refuse."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from apportion import __version__
from apportion.api.crds import crd_documents
from apportion.cli.main import cli
from apportion.sandbox import gpu_node, pod

EXAMPLE = str(Path(__file__).parents[2] / "docs" / "examples" / "small-cluster.yaml")
H100 = "nvidia-h100-80gb-hbm3"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


def ran(*words: str, text: str | None = None, columns: int = 200) -> Result:
    return CliRunner().invoke(cli, list(words), input=text, env={"COLUMNS": str(columns)})


def decided(*words: str, text: str | None = None) -> Any:
    done = ran("plan", *words, "-o", "json", text=text)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def less_time(document: Any) -> Any:
    return {name: value for name, value in document.items() if name != "solveSeconds"}


def node(name: str = "gpu-0", gpus: int = 8) -> Any:
    raw = gpu_node(name, gpus=gpus)
    return {**raw, "status": {**raw["status"], **READY}}


def job(name: str = "llama", **fields: Any) -> Any:
    container = {"name": "main", "image": "trainer:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "team", **fields.pop("metadata", {})},
        "spec": {"minReplicas": 1, "maxReplicas": 4, "template": {"spec": {"containers": [container]}}, **fields},
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, *documents: Any) -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write


def test_table_shows_jobs_capacity_and_certificate() -> None:
    done = ran("plan", "-f", EXAMPLE)
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["research/llama-sft", "-", "8", "h100", "1", "WaitingForRoom"] in [row[:6] for row in rows]
    assert ["h100", "nvidia.com/gpu", "24", "0", "24"] in rows
    assert re.search(r"^Optimal: objective [\d.]+, bound [\d.]+, gap 0\.00%, highs, [\d.]+ s$", done.stdout, flags=re.M)


def test_yaml_and_json_are_the_same_document() -> None:
    done = ran("plan", "-f", EXAMPLE, "--at", "2026-12-01T08:00:00Z", "-o", "yaml")
    other = decided("-f", EXAMPLE, "--at", "2026-12-01T08:00:00Z")
    assert less_time(yaml.safe_load(done.stdout)) == less_time(other)
    assert other["kind"] == "Decision"
    assert other["status"] == "Optimal"
    assert other["bound"] >= other["objective"] > 0


def test_document_says_who_gets_what() -> None:
    document = decided("-f", EXAMPLE)
    got = {entry["name"]: (entry["flavor"], entry["replicas"]) for entry in document["allocations"]}
    assert got == {"ranker": ("h100", 3), "llama-sft": ("h100", 8), "vision": ("h100", 2)}
    assert {entry["kind"] for entry in document["resizes"]} == {"Admit"}
    assert document["capacity"] == [
        {"flavor": "h100", "resource": "nvidia.com/gpu", "allocatable": 24, "othersUse": 0, "free": 24}
    ]
    assert {entry["queue"] for entry in document["queues"]} == {"product", "research"}


def test_another_rule_shares_the_same_cluster_otherwise(write: Callable[..., str]) -> None:
    files = ("-f", write("a.yaml", node(gpus=8), job("one"), job("two")))
    program, static = decided(*files), decided(*files, "--policy", "static")
    assert [a["replicas"] for a in program["allocations"]] == [4, 4]
    assert [a["replicas"] for a in static["allocations"]] == [1, 1]
    assert (static["method"], static["bound"] >= program["objective"]) == ("static", True)


def test_standard_input_lists_and_json_are_read_like_files(write: Callable[..., str]) -> None:
    everything = [node(), job(), job("other")]
    file = decided("-f", write("all.yaml", *everything), "--at", "2026-12-01T08:00:00Z")
    as_list = {"apiVersion": "v1", "kind": "List", "items": everything}
    typed = {"apiVersion": "apportion.dev/v1alpha1", "kind": "TrainingJobList", "items": [job(), job("other")]}
    for item in typed["items"]:
        del item["kind"], item["apiVersion"]  # type: ignore[attr-defined]
    same = [
        decided("-f", "-", "--at", "2026-12-01T08:00:00Z", text=yaml.safe_dump_all(everything)),
        decided("-f", "-", "--at", "2026-12-01T08:00:00Z", text=json.dumps(as_list)),
        decided("-f", write("nodes.yaml", node()), "-f", "-", "--at", "2026-12-01T08:00:00Z", text=json.dumps(typed)),
    ]
    assert [less_time(document) for document in same] == [less_time(file)] * 3


def test_missing_kinds_are_empty(write: Callable[..., str]) -> None:
    assert decided("-f", write("nodes.yaml", node()))["allocations"] == []
    (alone,) = decided("-f", write("job.yaml", job()))["allocations"]
    assert (alone["replicas"], alone["reason"]) == (0, "NoCompatibleFlavor")


def test_pods_of_others_take_room(write: Callable[..., str]) -> None:
    container = {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "6"}}}
    theirs = pod("notebook", spec={"nodeName": "gpu-0", "containers": [container]})
    theirs["status"] = {"phase": "Running"}
    document = decided("-f", write("all.yaml", node(), theirs, job()))
    assert (document["capacity"][0]["othersUse"], document["capacity"][0]["free"]) == (6, 2)
    assert document["allocations"][0]["replicas"] == 2


def test_unknown_kinds_are_counted_and_unknown_fields_named(write: Callable[..., str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}}
    other = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "Queue", "metadata": {"name": "theirs"}}
    path = write("all.yaml", node(), secret, other, {**secret, "metadata": {"name": "second"}}, job(colour="red"))
    done = ran("plan", "-f", path)
    assert done.exit_code == 0
    assert "ignored: 1 Queue, 2 Secret" in done.stdout
    assert "unknown field spec.colour" in done.stdout
    assert any("spec.colour" in warning for warning in decided("-f", path)["warnings"])


def test_time_decides_about_what_has_passed(write: Callable[..., str]) -> None:
    """A job that waits for an hour is worth twice as much as a fresh one: the time given counts, not the clock."""
    waiting = job(metadata={"name": "llama", "namespace": "team", "creationTimestamp": "2026-12-01T08:00:00Z"})
    path = write("all.yaml", node(), waiting)
    fresh = decided("-f", path, "--at", "2026-12-01T08:00:00Z")["objective"]
    old = decided("-f", path, "--at", "2026-12-01T10:00:00+01:00")["objective"]
    assert old == pytest.approx(fresh + 0.2)


BAD: dict[str, tuple[str, str]] = {
    "no YAML": ("kind: [", r"bad\.yaml: document 1: .+"),
    "no object": ("just words", r"bad\.yaml: document 1: expected an object with apiVersion and kind, not .+"),
    "nothing": ("", r"bad\.yaml: expected Kubernetes objects as YAML or JSON, found nothing"),
    "no name": (
        "apiVersion: v1\nkind: Node\nmetadata: {}",
        r"bad\.yaml: document 1: Node: metadata\.name: expected a string, not .+",
    ),
    "wrong type in the second document": (
        yaml.safe_dump_all([node(), job(maxReplicas="many")]),
        r"bad\.yaml: document 2: TrainingJob team/llama: spec\.maxReplicas: .+",
    ),
    "minimum above maximum": (
        yaml.safe_dump(job(minReplicas=9)),
        r"bad\.yaml: document 1: TrainingJob team/llama: spec.*: .+",
    ),
    "twice the same": (yaml.safe_dump_all([node(), node()]), r"bad\.yaml: document 2: expected each object once; .+"),
    "list of no objects": (
        "apiVersion: v1\nkind: List\nitems: [3]",
        r"bad\.yaml: document 1, items\[0\]: expected an object .+",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_ends_with_code_2_and_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected = BAD[case]
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(text)
    done = ran("plan", "-f", "bad.yaml")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert re.fullmatch(f"error: {expected}\n", done.stderr), done.stderr
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "-f", "nowhere.yaml"), "nowhere.yaml: expected a readable file"),
        (("plan", "-f", EXAMPLE, "-f", EXAMPLE), "expected each file once, named 2 times"),
        (("plan", "-f", EXAMPLE, "--context", "lab"), "either -f or --kubeconfig/--context, not both"),
        (("plan", "-f", EXAMPLE, "--at", "tomorrow"), "--at 'tomorrow': expected a time like 2026-12-01T08:00:00Z"),
        (("plan", "-f", EXAMPLE, "--at", "2026-12-01T08:00:00"), "expected a time zone"),
        (("plan", "--kubeconfig", "nowhere"), "nowhere"),
        (("plan", "-f", EXAMPLE, "-o", "xml"), "Invalid value"),
        (("explain", "job/llama-sft", "-f", EXAMPLE), "'job/llama-sft': expected tj/NAME"),
        (("explain", "tj/nobody", "-n", "team", "-f", EXAMPLE), "there is no TrainingJob 'nobody' in namespace 'team'"),
    ],
)
def test_bad_arguments_end_with_code_2(words: tuple[str, ...], said: str) -> None:
    done = ran(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["tj/llama-sft", "llama-sft", "trainingjob/llama-sft"])
def test_explain_says_what_it_has_and_why(name: str) -> None:
    done = ran("explain", name, "-n", "research", "-f", EXAMPLE)
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "TrainingJob research/llama-sft: Pending"
    assert "now: - (asks 4 to 16, 1 each)" in lines
    assert "planned: 8 h100" in lines
    assert any(line.startswith("why: WaitingForRoom: ") for line in lines)
    assert any(line.startswith("plan: Optimal; ") for line in lines)


def test_explain_says_why_not_elsewhere(write: Callable[..., str]) -> None:
    other = gpu_node("l4-0", "NVIDIA-L4", gpus=1)
    small = {**other, "status": {**other["status"], **READY}}
    done = ran("explain", "tj/llama", "-n", "team", "-f", write("all.yaml", node(), small, job(minReplicas=2)))
    assert "elsewhere: nvidia-l4: 1 are free, the minimum needs 2" in " ".join(done.stdout.split())


def test_crds_are_written_to_a_folder(tmp_path: Path) -> None:
    done = ran("crds", "--output", str(tmp_path / "new" / "crds"))
    assert done.exit_code == 0
    written = [Path(line) for line in done.stdout.splitlines()]
    found = [yaml.safe_load(path.read_text()) for path in written]
    assert {one["metadata"]["name"] for one in found} == {one["metadata"]["name"] for one in crd_documents()}


def test_version_and_help() -> None:
    assert ran("version").stdout == f"apportion {__version__}\n"
    assert ran("-h").exit_code == 0
    assert "reference" not in ran("--help").stdout


def limited(write: Callable[..., str], **policy: Any) -> str:
    """Three jobs of one team on 8 GPUs at 2.50 each, with 500 W each."""
    flavor = {"name": H100, "pricePerHour": 2.5, "watts": 500}
    head = {"apiVersion": "apportion.dev/v1alpha1", "metadata": {"name": "default"}}
    queue = {"flavors": [{"name": "*", "nominalQuota": 8}], "powerCapWatts": 4000}
    return write(
        "limited.yaml",
        {**head, "kind": "AllocationPolicy", "spec": {"flavors": [flavor], **policy}},
        {**head, "kind": "Queue", "spec": queue},
        node(),
        *(job(name) for name in ("a", "b", "c")),
    )


def test_plan_tells_what_is_spent_and_how_evenly_things_are_shared(write: Callable[..., str]) -> None:
    path = limited(write, budget={"perHour": "15.50"})
    text = ran("plan", "-f", path).stdout
    assert "budget of the cluster: 15 of 15.5 per hour\n" in text
    assert "power cap of queue default: 3000 of 4000 W\n" in text
    assert "dominant share by queue: default 75%\n" in text
    assert "Jain index of the normalised rates of all jobs that run or wait: 1.00\n" in text
    assert text.count("BudgetExceeded") == 3
    document = decided("-f", path)
    (budget, power) = document["caps"]
    assert budget.pop("price") > 0
    assert budget == {"cap": "budget", "queue": None, "limit": 15.5, "used": 15.0}
    assert power == {"cap": "power", "queue": "default", "limit": 4000.0, "used": 3000.0, "price": 0.0}
    assert document["fairness"] == {"jain": 1.0, "dominantShares": [{"queue": "default", "share": 0.75}]}
    assert [price["flavor"] for price in document["prices"] if not price["flavor"]] == []


def test_plan_tells_nothing_of_limits_that_there_are_not(write: Callable[..., str]) -> None:
    text = ran("plan", "-f", write("one.yaml", node(), job())).stdout
    assert "budget" not in text
    assert "dominant share" not in text


def test_what_if_prices_money_beside_accelerators(write: Callable[..., str]) -> None:
    path = limited(write, budget={"perHour": 15})
    text = ran("plan", "-f", path, "--what-if", "tj/a suspend=true").stdout
    assert "per hour of the budget of the cluster" in text


def test_explain_names_the_budget(write: Callable[..., str]) -> None:
    text = ran("explain", "tj/a", "-n", "team", "-f", limited(write, budget={"perHour": 15})).stdout
    why, step = (re.search(f"{word}: +(.*)", text) for word in ("why", "next step"))
    assert why is not None
    assert step is not None
    assert why[1].startswith(
        f"BudgetExceeded: 2 of at most 4: the next step (3) needs 1 more {H100}; that is 2.5 per hour more"
    )
    assert "the budget of the cluster" in step[1]


@pytest.mark.parametrize(
    ("objective", "shares"),
    [("ProportionalFair", [4, 4]), ("MaxThroughput", [4, 4]), ("MaxMinFair", [4, 4]), ("MinCost", [1, 1])],
)
def test_the_policys_objective_is_the_one_of_the_plan(
    write: Callable[..., str], objective: str, shares: list[int]
) -> None:
    document = decided("-f", write("two.yaml", *policy_with(objective), node(), job("a"), job("b")))
    assert [one["replicas"] for one in document["allocations"]] == shares
    assert document["status"] == "Optimal"


def policy_with(objective: str) -> tuple[Any, ...]:
    head = {"apiVersion": "apportion.dev/v1alpha1", "kind": "AllocationPolicy", "metadata": {"name": "default"}}
    return ({**head, "spec": {"objective": {"name": objective}}},)
