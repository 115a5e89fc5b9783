"""apportion simulate and apportion trace: the table, the files, the page, and what is refused."""

import csv
import json
import re
import shlex
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from apportion.cli.main import cli
from apportion.cli.simulate import emptied
from apportion.cli.source import Source, read
from apportion.simulator import METRICS, Mix
from apportion.simulator.generator import MIX
from apportion.simulator.trace import CELLS

CLUSTER = str(Path(__file__).parents[2] / "docs" / "examples" / "clusters" / "two-pools.yaml")
SMALL = ("--trace", "generate:jobs=4,hours=0.5,deadlines=1", "--cluster", CLUSTER, "--seeds", "3", "--processes", "1")


def ran(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rules on three seeds."""
    made = tmp_path_factory.mktemp("report") / "new"
    done = ran("simulate", *SMALL, "--policy", "fifo", "--policy", "max-min", "-o", str(made))
    assert done.exit_code == 0, done.output
    (made / "said").write_text(done.stdout)
    return made


def test_the_table_has_every_metric_and_the_difference_with_its_interval(folder: Path) -> None:
    lines = (folder / "said").read_text().splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["METRIC", "fifo", "max-min", "max-min - fifo"]
    for metric in METRICS.values():
        (line,) = (line for line in lines if line.startswith(metric.words + " ") and "difference" not in line)
        assert re.search(r"[+-]\S+ \[[+-]\S+, [+-]\S+\]\s*$", line), line
    assert lines[-1] == f"written to {folder}: results.json, results.csv, index.html"


def test_the_document_says_what_the_runs_say(folder: Path) -> None:
    found = json.loads((folder / "results.json").read_text())
    assert (found["kind"], found["seeds"], list(found["metrics"])) == ("Simulation", [1, 2, 3], list(METRICS))
    fifo, other = found["policies"]
    assert (fifo["name"], fifo["difference"], other["name"]) == ("fifo", None, "max-min")
    jct = [[run["values"]["jctMean"] for run in policy["runs"]] for policy in (fifo, other)]
    assert fifo["mean"]["jctMean"] == pytest.approx(fmean(jct[0]))
    assert other["difference"]["jctMean"]["mean"] == pytest.approx(fmean(b - a for a, b in zip(*jct, strict=True)))
    hours = other["runs"][0]["acceleratorHours"]
    used = sum(row["used"] + row["lost"] for row in hours)
    # Four dollars an H100, two an A100.
    price = sum((row["used"] + row["lost"]) * (4 if row["flavor"] == "h100" else 2) for row in hours)
    assert used > 0
    assert other["runs"][0]["values"]["costOfJobs"] == pytest.approx(price)


def test_the_csv_has_a_line_for_each_run(folder: Path) -> None:
    rows = list(csv.DictReader(StringIO((folder / "results.csv").read_text())))
    assert [(row["policy"], row["seed"]) for row in rows] == [(p, s) for s in "123" for p in ("fifo", "max-min")]
    found = json.loads((folder / "results.json").read_text())
    assert float(rows[1]["jctP99"]) == found["policies"][1]["runs"][0]["values"]["jctP99"]


def test_the_page_needs_nothing_else_and_has_the_charts(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert not re.search(r"https?:|<script|<link|src=", page)
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    for chart in charts:
        ElementTree.fromstring(chart.replace("xlink:href", "href"))
    titles = ("Share of jobs done within", "Accelerators that work", "by queue: fifo", "by queue: max-min")
    assert len(charts) == 4
    assert all(title in chart for title, chart in zip(titles, charts, strict=True))


def test_processes_change_nothing(tmp_path: Path) -> None:
    words = (
        "simulate",
        "--trace",
        "generate:jobs=2,hours=0.2",
        "--cluster",
        CLUSTER,
        "--policy",
        "fifo",
        "--seeds",
        "2",
    )
    for count in ("1", "2"):
        assert ran(*words, "--processes", count, "-o", str(tmp_path / count)).exit_code == 0
    for name in ("results.json", "results.csv", "index.html"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_written_trace_is_played_and_an_own_policy_is_named_by_its_file(tmp_path: Path) -> None:
    path, policy = tmp_path / "t.csv", tmp_path / "mine.yaml"
    assert ran("trace", "-f", CLUSTER, "--jobs", "4", "--hours", "1", "--seed", "3", "-o", str(path)).exit_code == 0
    head = "{apiVersion: apportion.dev/v1alpha1, kind: AllocationPolicy, metadata: {name: default}, spec: "
    policy.write_text(head + "{mode: Observe, objective: {exponent: 0}}}")
    words = ("--trace", str(path), "--cluster", CLUSTER, "--policy", str(policy), "--seeds", "1", "--processes", "1")
    done = ran("simulate", *words)
    assert done.exit_code == 0, done.output
    assert re.match(r"METRIC\s+mine.yaml\s*\n", done.stdout)
    # Observe would change nothing; a simulation is for what it would do.
    assert re.search(r"jobs done +4", done.stdout)


def test_jobs_of_the_cluster_are_left_out_and_nodes_may_fail() -> None:
    small = str(Path(CLUSTER).parents[1] / "small-cluster.yaml")
    words = ("--trace", "generate:jobs=2,hours=0.5", "--cluster", small, "--policy", "static", "--processes", "1")
    done = ran("simulate", *words, "--seeds", "1", "--failure-hours", "0.3", "--repair-hours", "0.1", "--no-learning")
    assert done.exit_code == 0, done.output
    assert "TrainingJobs of the cluster are left out" in done.stderr
    assert int(re.findall(r"nodes that failed +(\d+)", done.stdout)[0]) > 0


def test_no_autoscaler_adds_nodes() -> None:
    got = read(Source((str(Path(CLUSTER).parents[1] / "growing.yaml"),), None, None, None))
    assert any(flavor.provisionable for flavor in got.snapshot.flavors)
    cluster = emptied(got)
    assert not any(flavor.provisionable for flavor in cluster.flavors)
    assert (cluster.now, cluster.jobs) == (0.0, ())


REFUSED = {
    "no such trace": (("--trace", "none.csv"), "error: none.csv: expected a readable file"),
    "a parameter": (
        ("--trace", "generate:jobs=0"),
        "error: --trace generate:jobs=0: expected jobs=a whole number from",
    ),
    "a rule": (("--policy", "best"), "error: --policy: expected one of program, static, fifo, drf, max-min, greedy"),
    "a rule twice": (("--policy", "fifo", "--policy", "FIFO"), "error: --policy FIFO: expected each policy once"),
    "a file as folder": (("-o", CLUSTER), f"error: -o {CLUSTER}: expected a folder that can be written to"),
    "no cluster": (("--cluster", "none.yaml"), "error: none.yaml: expected a readable file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_played_ends_with_code_2_and_one_line(case: str) -> None:
    words, said = REFUSED[case]
    # An option that is given twice counts as it was given last, but for --cluster and --policy.
    done = ran("simulate", *SMALL, *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(said), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_a_wrong_trace_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("job,arrival,min_replicas,max_replicas,accelerators,duration,flavors\na,0,1,2,1,60,b200\n")
    done = ran("simulate", *SMALL[2:], "--trace", str(path))
    assert done.exit_code == 2
    assert f"{path}, line 2, column flavors: expected flavors of the cluster (a100, h100), not b200" in done.stderr


def test_a_cluster_without_accelerators_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_text("{apiVersion: apportion.dev/v1alpha1, kind: Queue, metadata: {name: q}, spec: {flavors: []}}")
    for words in (("simulate", *SMALL[:2], "--cluster", str(path)), ("trace", "-f", str(path))):
        done = ran(*words)
        assert done.exit_code == 2
        assert "expected a cluster with accelerators" in done.stderr


PAGE = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text()


def test_the_page_names_every_column_metric_and_parameter() -> None:
    parts = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## "))}
    for title, names in (("A trace as CSV", CELLS), ("The generator", MIX), ("How to read the table", METRICS)):
        rows = re.findall(r"^\| (.*?) \|", parts[title], flags=re.M)
        named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        assert sorted(named) == sorted(names)


@pytest.mark.parametrize("line", re.findall(r"^apportion (.*)$", PAGE, flags=re.M))
def test_commands_of_the_page_are_understood(line: str) -> None:
    name, *words = shlex.split(line)
    command = cli.commands[name]
    assert command.make_context(name, words).command is command


def test_every_parameter_of_the_generator_is_an_option_of_trace_with_its_default() -> None:
    options = {option.name: option.default for option in cli.commands["trace"].params}
    assert asdict(Mix()).items() <= options.items()


def test_the_page_says_the_defaults_of_the_generator() -> None:
    for name, value in asdict(Mix()).items():
        row = next(row for row in PAGE.splitlines() if row.startswith("| `") and f"`{name}`" in row.split("|")[1])
        names = re.findall(r"`(\w+)`", row.split("|")[1])
        assert float(row.split("|")[2].split(",")[names.index(name)]) == value
