"""Asking the command line about files of a cluster: what it prints, as lines or as a document."""

import json
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from apportion.cli.main import cli

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TWO = str(EXAMPLES / "two-flavors.yaml")
SMALL = str(EXAMPLES / "small-cluster.yaml")
NEW = str(EXAMPLES / "new-job.yaml")


def altered(name: str, **spec: Any) -> list[Any]:
    """The example of two flavors with other fields in one job's spec."""
    found = list(yaml.safe_load_all(Path(TWO).read_text()))
    for raw in found:
        if raw["metadata"]["name"] == name:
            raw["spec"].update(spec)
    return found


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
