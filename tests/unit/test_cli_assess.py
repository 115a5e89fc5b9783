"""apportion assess: what it says of nodes, holders and jobs, as table, JSON and page."""

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner, Result

from apportion.assessment import assess
from apportion.assessment.health import driver, memory, runtime
from apportion.cli.main import cli
from apportion.model.jobs import FlavorChoice
from apportion.model.selection import NodeChoice, Requirement, Taint
from apportion.sandbox import gpu_node, pod
from builders import GPU, H100, job, node, nodes, queue, quota, running, snapshot

EXAMPLE = str(Path(__file__).parents[2] / "docs" / "examples" / "two-flavors.yaml")
READY = {"type": "Ready", "status": "True"}


def ran(*words: str) -> Result:
    return CliRunner().invoke(cli, ["assess", *words])


def document(*words: str) -> Any:
    done = ran(*words, "-o", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def a_node(name: str, labels: dict[str, str] | None = None, cordoned: bool = False, broken: int = 0) -> Any:
    raw = gpu_node(name, gpus=8)
    raw["metadata"]["labels"].update(labels or {})
    raw["spec"] = {**raw.get("spec", {}), "unschedulable": cordoned}
    status = {**raw["status"], "conditions": [READY]}
    status["allocatable"] = {**status["allocatable"], GPU: str(8 - broken)}
    return {**raw, "status": status}


def a_job(name: str, gpus: int = 2, **spec: Any) -> Any:
    container = {"name": "main", "image": "trainer:1", "resources": {"limits": {GPU: str(gpus)}}}
    return {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"minReplicas": 1, "maxReplicas": 4, "template": {"spec": {"containers": [container]}}, **spec},
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(*documents: Any) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write


def test_nodes_that_take_nothing_are_counted_and_named_with_the_reason(write: Callable[..., str]) -> None:
    path = write(a_node("a"), a_node("b", cordoned=True), a_node("c", broken=3))
    (flavor,) = document("-f", path)["flavors"]
    counts = {name: flavor[name] for name in ("nodes", "readyNodes", "accelerators", "usable", "broken")}
    assert counts == {"nodes": 3, "readyNodes": 2, "accelerators": 21, "usable": 13, "broken": 3}
    assert flavor["notReady"] == [{"why": "is cordoned", "nodes": ["b"]}]
    assert re.search(r": 1 node \(b\): is cordoned$", ran("-f", path).stdout, flags=re.M)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, ("", "", "")),
        (
            {
                "nvidia.com/gpu.memory": "81559",
                "nvidia.com/cuda.driver-version.full": "550.54.15",
                "nvidia.com/cuda.runtime-version.full": "12.4",
            },
            ("550.54.15", "12.4", "81559 MiB"),
        ),
        (
            {
                "nvidia.com/cuda.driver.major": "455",
                "nvidia.com/cuda.driver.minor": "06",
                "nvidia.com/cuda.driver.rev": "",
                "nvidia.com/cuda.runtime.major": "11",
                "nvidia.com/cuda.runtime.minor": "1",
            },
            ("455.06", "11.1", ""),
        ),
        ({"amd.com/gpu.vram": "191G", "amd.com/gpu.driver-version": "6.12.12"}, ("6.12.12", "", "191G")),
    ],
    ids=["none", "NVIDIA", "old NVIDIA", "AMD"],
)
def test_driver_and_memory_are_read_from_the_vendors_labels(labels: dict[str, str], said: tuple[str, str, str]) -> None:
    assert (driver(labels), runtime(labels), memory(labels)) == said


def test_different_drivers_inside_a_flavor_are_pointed_out(write: Callable[..., str]) -> None:
    label = "nvidia.com/cuda.driver-version.full"
    old, new = {label: "535.1"}, {label: "550.2"}
    done = ran("-f", write(a_node("a", old), a_node("b", new), a_node("c", new)))
    assert "nodes have different drivers: 550.2 (2), 535.1 (1)" in done.stdout


def test_holders_are_jobs_with_their_queue_others_and_nobody(write: Callable[..., str]) -> None:
    one = running(job("one", each=2, queue_name="red"), {"a": 2})
    away = running(job("away", each=1, queue_name="red"), {"b": 1})
    world = snapshot(
        one,
        away,
        on=(node("a", foreign={GPU: 1}), node("b", 4, placeable=False)),
        queues=(queue("red", quota(8)),),
    )
    rows = [(row.use, row.queue, row.key and row.key.name, row.accelerators) for row in assess(world).holdings]
    assert rows == [
        ("jobs", "red", "away", 1.0),
        ("jobs", "red", "one", 4.0),
        ("others", "", None, 1.0),
        ("idle", "", None, 6.0),
    ]


def test_a_queue_that_is_not_named_is_the_default_one() -> None:
    world = snapshot(running(job("one"), {"a": 1}), on=(node("a"),), queues=(queue("default", quota(8)),))
    assert assess(world).holdings[0].queue == "default"


def test_cpu_that_is_short_is_named_as_what_binds() -> None:
    world = snapshot(
        job("hungry", each=2, requests={GPU: 2, "cpu": 30_000, "memory": 2**30, "pods": 1}),
        on=nodes(1),
        flavors=(H100,),
    )
    gangs = {gang.size: gang for gang in assess(world).rooms[0].gangs}
    assert (gangs[2].replicas, gangs[2].alone, gangs[2].binds, gangs[2].stranded) == (2, 4, "cpu", 4)
    assert (gangs[4].replicas, gangs[4].binds) == (2, "")


WHY_NOT = {
    "another resource": (job("j", resource="amd.com/gpu"), f"asks for amd.com/gpu; h100 is {GPU}"),
    "not allowed": (job("j", flavors=(FlavorChoice("a100"),)), "the job allows a100 only"),
    "no quota": (job("j", queue_name="blue"), "queue blue lists no quota for it"),
    "labels": (
        job("j", nodes=NodeChoice(requirements=(Requirement("zone", "In", ("eu",)), Requirement("gpu", "Exists")))),
        "none of its 3 nodes has zone In eu",
    ),
    "selector": (job("j", nodes=NodeChoice(selector=(("rack", "7"),))), "none of its 3 nodes has rack=7"),
    "taint": (
        job("j", nodes=NodeChoice(selector=(("pool", "spot"),))),
        "the job does not tolerate the taint spot:NoSchedule of node spot",
    ),
    "cordoned": (
        job("j", nodes=NodeChoice(selector=(("pool", "out"),))),
        "none of its 1 nodes takes new pods (node out is cordoned)",
    ),
    "one replica too large": (
        job("j", each=16),
        f"a replica needs 16 {GPU} on one node; the largest has 8",
    ),
    "gang too large": (
        job("j", 3, 4, each=8),
        "the minimum is 3 replicas; all its nodes together, empty, have room for 1",
    ),
    "nothing": (job("j"), ""),
}


@pytest.mark.parametrize("case", WHY_NOT)
def test_each_flavor_that_a_job_cannot_use_says_why(case: str) -> None:
    one, why = WHY_NOT[case]
    world = snapshot(
        one,
        on=(
            node("plain", labels={"gpu": "h100"}),
            node("spot", labels={"pool": "spot"}, taints=(Taint("spot"),)),
            node("out", labels={"pool": "out"}, placeable=False, why_not="is cordoned"),
        ),
        flavors=(H100,),
        queues=(queue("default", quota(64)), queue("blue", quota(8, "a100"))),
    )
    (found,) = assess(world).jobs
    assert (found.fits[0].why, found.blocked) == (why, "")


def test_a_job_without_its_queue_is_blocked_and_the_reason_is_said(write: Callable[..., str]) -> None:
    path = write(a_node("a"), a_job("lost", queueName="nowhere"), {
        "apiVersion": "apportion.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "red"},
        "spec": {"flavors": [{"name": "*", "nominalQuota": 8}]},
    })  # fmt: skip
    (lost,) = document("-f", path)["jobs"]
    assert lost["blocked"] == "QueueNotFound: there is no Queue 'nowhere'"


def test_the_table_has_whole_lines_where_no_terminal_is(write: Callable[..., str]) -> None:
    theirs = pod("notebook", spec={"nodeName": "a", "containers": [
        {"name": "main", "image": "x", "resources": {"limits": {GPU: "6"}}}]})  # fmt: skip
    theirs["status"] = {"phase": "Running"}
    rows = [line.split() for line in ran("-f", write(a_node("a"), theirs, a_job("one"))).stdout.splitlines()]
    assert [row[1:] for row in rows if row[1:3] == ["2", "-"]] == [["2", "-", "-", "1", "1", "-", "0"]]
    assert [row[1:] for row in rows if row[1:2] == ["pods"]] == [["pods", "of", "others", "-", "6"]]


class Reader(HTMLParser):
    """What a browser would load or show: addresses in attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "xmlns")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_everything_itself(write: Callable[..., str]) -> None:
    page = ran("-f", EXAMPLE, "-o", "html").stdout
    assert "://" not in page
    reader = Reader()
    reader.feed(page)
    assert all(link.startswith("#") for link in reader.links)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(charts) == 3
    for chart in charts:
        ElementTree.fromstring(chart.replace("xlink:href", "href"))
    assert "Accelerators by holder" in charts[0]
    assert "research/llama" in reader.text
    assert ran("-f", EXAMPLE, "-o", "html").stdout[:200].count("<html") == 1


def test_what_labels_say_is_text_on_the_page(write: Callable[..., str]) -> None:
    hostile = {"nvidia.com/cuda.driver-version.full": "<script>alert(1)</script>"}
    page = ran("-f", write(a_node("a", hostile)), "-o", "html").stdout
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_without_matplotlib_only_the_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = ran("-f", EXAMPLE, "-o", "html")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: charts need matplotlib: pip install 'apportion[charts]'\n"
    assert ran("-f", EXAMPLE).exit_code == 0


def names(value: object) -> set[str]:
    """Every field name but those that are values: what labels say."""
    if isinstance(value, dict):
        tallies = {"drivers", "runtimes", "memories"}
        return {name for key, inner in value.items() for name in {key, *(() if key in tallies else names(inner))}}
    return {name for item in value for name in names(item)} if isinstance(value, list) else set()


def test_the_documentation_names_every_field(write: Callable[..., str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "assess.md").read_text(encoding="utf-8")
    bare = {**a_node("bare"), "status": {"conditions": [READY], "allocatable": {"pods": "3"}}}
    found = document("-f", write(a_node("a"), a_node("b", cordoned=True), bare, a_job("one")))
    assert not {name for name in names(found) if f"`{name}`" not in page and f"`{name}[]`" not in page}
