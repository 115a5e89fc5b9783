"""The generated pages follow their source, every link of every page leads somewhere, every example reads."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from apportion.api.dump import load_objects
from apportion.api.parse import parse_training_job
from apportion.cli.main import cli
from apportion.cli.reference import pages
from apportion.config import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
EXAMPLES = sorted((DOCS / "examples").glob("*.yaml"))


@pytest.mark.parametrize("name", sorted(pages(cli)))
def test_generated_page_is_up_to_date(name: str) -> None:
    stored = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert stored == pages(cli)[name], "run: make generate"


def test_hidden_command_writes_the_pages(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["reference", "--output", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == pages(cli)


def test_command_page_explains_every_setting_of_the_operator() -> None:
    page = pages(cli)["cli.md"]
    section = page.split("## apportion run")[1].split("\n## ")[0]
    options = dict(re.findall(r"^\| `--([a-z-]+)`.*\| ([^|]*) \|$", section, flags=re.M))
    exposed = {name.replace("_", "-") for name in Settings.__dataclass_fields__} & set(options)
    assert {"lease-seconds", "audit-seconds", "namespace", "port"} <= exposed
    assert all(options[name] for name in exposed)
    assert "apportion reference" not in page


def test_ranges_of_whole_numbers_are_told_to_the_last_digit() -> None:
    """A seed of 9.22337e+18 would be refused: it is above the end that was meant."""
    page = pages(cli)["cli.md"]
    assert "| `--first-seed` | -9223372036854775808 to 9223372036854775807 | `1` |" in page
    assert "| `--history-mebibytes` | 1 to 1048576 |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_and_json_examples_are_well_formed(page: Path) -> None:
    for language, text in re.findall(r"```(yaml|json)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
        if language == "json":
            json.loads(text)
            continue
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and document.get("kind") == "TrainingJob":
                parse_training_job(document)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_files_have_no_unknown_fields(path: Path) -> None:
    loaded = load_objects([str(path)], None)  # type: ignore[arg-type]
    assert loaded.of_kind("TrainingJob")
    assert not loaded.warnings


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*/*.yaml")), ids=lambda path: path.name)
def test_clusters_and_policies_to_simulate_have_no_unknown_fields(path: Path) -> None:
    loaded = load_objects([str(path)], None)  # type: ignore[arg-type]
    assert loaded.of_kind("AllocationPolicy")
    assert not loaded.warnings


def test_the_simulator_of_ones_own_serves_all_jobs_by_their_steps() -> None:
    done = subprocess.run([sys.executable, DOCS / "examples" / "own_simulator.py"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, last = done.stdout.splitlines()
    held: dict[str, int] = {}
    for line in lines:
        found = re.fullmatch(r" *\d+ min  (job-\d)  (\d+) -> (\d+)", line)
        assert found, line
        assert held.get(found[1], 0) == int(found[2])
        held[found[1]] = int(found[3])
        assert int(found[3]) in (0, 1, 2, 4, 8)
    assert set(held) == {f"job-{number}" for number in range(6)}
    assert last.endswith("all done")


def fields(value: object, path: str = "") -> set[str]:
    """Paths of all fields, those of a list's elements as name[].field."""
    if isinstance(value, dict):
        return {name for key, inner in value.items() for name in {f"{path}{key}", *fields(inner, f"{path}{key}.")}}
    if isinstance(value, list):
        return {name for item in value for name in fields(item, f"{path[:-1]}[].")}
    return set()


@pytest.mark.parametrize(
    ("example", "change"),
    [("two-flavors", ""), ("growing", ""), ("two-flavors", "drain gpu-0003")],
    ids=["Decision", "Decision with new nodes", "WhatIf"],
)
def test_decision_page_names_every_field_of_the_document(example: str, change: str) -> None:
    words = ["plan", "-f", str(DOCS / "examples" / f"{example}.yaml"), "-o", "json"]
    done = CliRunner().invoke(cli, [*words, "--what-if", change] if change else words)
    decision, what_if = (DOCS / "reference" / "decision.md").read_text(encoding="utf-8").split("\n## What if\n")
    page = what_if if change else decision
    # Prices are described once: those of the two plans look alike.
    found = {
        re.sub(r"^(before|after)\.(prices|caps)\[\]\..*", r"\1.\2", name) for name in fields(json.loads(done.stdout))
    }
    assert not {name for name in found if f"`{name}`" not in page}


TASKS = (DOCS / "tasks.md").read_text(encoding="utf-8")
TYPED = re.findall(r"^(?:\$ )?apportion (.* docs/examples/.*)$", TASKS, flags=re.M)
PRINTED = dict(re.findall(r"^\$ apportion (.*)\n((?:.*\n)*?)```", TASKS, flags=re.M))


@pytest.mark.parametrize("line", TYPED)
def test_command_on_an_example_file_prints_what_the_page_shows(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(cli, shlex.split(line), env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    if line in PRINTED:
        assert [row.rstrip() for row in done.output.splitlines()] == PRINTED[line].splitlines()


def test_the_page_shows_what_explain_and_a_what_if_print() -> None:
    assert sorted(line.split()[0] for line in PRINTED) == ["explain", "explain", "plan"]
    assert len(TYPED) >= 4


def test_the_page_says_who_moves_for_a_gang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(cli, ["plan", "-f", "docs/examples/defragmentation.yaml"], env={"COLUMNS": "300"})
    (said,) = [line for line in done.output.splitlines() if line.startswith("research/eval")]
    assert f'of `research/eval` "{said.split("MovedToMakeRoom")[1].strip()}"' in TASKS


def test_the_page_says_what_a_plan_would_provision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(cli, ["plan", "-f", "docs/examples/growing.yaml"], env={"COLUMNS": "300"})
    (said,) = [line for line in done.output.splitlines() if line.startswith("would be provisioned")]
    assert f'ends with "{said}"' in TASKS


def test_every_what_if_that_the_page_lists_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    section = TASKS.split("## Ask what would happen")[1].split("\n## ")[0]
    asked = re.findall(r'^\| `"(.*?)"` \|', section, flags=re.M)
    assert len(asked) >= 6
    for change in asked:
        done = CliRunner().invoke(cli, ["plan", "-f", "docs/examples/two-flavors.yaml", "--what-if", change])
        assert done.exit_code == 0, done.output


def test_image_is_what_the_chart_runs() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)
    assert 'ENTRYPOINT ["python", "-m", "apportion.cli"]' in lines
    install = (ROOT / "manifests" / "install.yaml").read_text(encoding="utf-8")
    (user,) = [line.split()[1].split(":")[0] for line in lines if line.startswith("USER ")]
    assert f"runAsUser: {user}\n" in install
