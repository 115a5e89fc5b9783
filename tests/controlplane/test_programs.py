"""The cache of programs: built once, found by version, never half there. A script stands for Go."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane import programs
from controlplane.programs import CONTROL_PLANE, HELM_PROGRAM, KWOK_PROGRAM, CannotBuild, build

TESTS = Path(__file__).parents[1]
# Says that it ran, takes its time, and leaves a program where `go install` would.
GO = """#!/bin/sh
echo "$*" >> "$XDG_CACHE_HOME/calls"
sleep 0.5
echo program > "$GOBIN/kwok"
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a Go that can be replaced; returns the script."""
    script = tmp_path / "bin" / "go"
    script.parent.mkdir()
    script.write_text(GO)
    script.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    return script


def calls(go: Path) -> list[str]:
    return (go.parents[1] / "calls").read_text().splitlines()


def test_second_build_finds_the_first(go: Path) -> None:
    said: list[str] = []
    first, second = build(KWOK_PROGRAM, said.append), build(KWOK_PROGRAM, said.append)
    assert first == second == KWOK_PROGRAM.path
    assert first.read_text() == "program\n"
    assert len(calls(go)) == 1
    assert re.fullmatch(r"building kwok .* about 1.5 min .*", said[0])
    assert re.fullmatch(r"built .*/kwok in \d+ s", said[1])


def test_two_processes_build_once(go: Path) -> None:
    code = "from controlplane.programs import *; print(build(KWOK_PROGRAM, print))"
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in both]
    assert [output.splitlines()[-1] for output in outputs] == [str(KWOK_PROGRAM.path)] * 2
    assert len(calls(go)) == 1


def test_failed_build_shows_what_go_said_and_leaves_nothing(go: Path) -> None:
    go.write_text('#!/bin/sh\necho half > "$GOBIN/kwok"\necho "no such host" >&2\nexit 1\n')
    with pytest.raises(CannotBuild, match=r"kwok .* did not build:\nno such host"):
        build(KWOK_PROGRAM, print)
    assert not KWOK_PROGRAM.path.exists()


def test_other_version_is_another_program() -> None:
    assert replace(KWOK_PROGRAM, version="v0.9.0").path != KWOK_PROGRAM.path
    assert len({program.path for program in programs.PROGRAMS}) == len(programs.PROGRAMS)


def test_without_go_the_reason_names_what_is_missing(go: Path) -> None:
    build(KWOK_PROGRAM, print)
    go.unlink()
    assert re.match(r"the real control plane needs Go on the PATH to build kubernetes, ", programs.why_not())
    assert programs.why_not(KWOK_PROGRAM) == ""
    assert "build helm," in programs.why_not(HELM_PROGRAM)
    with pytest.raises(CannotBuild, match="Go is not on the PATH"):
        build(CONTROL_PLANE, print)


def test_versions_of_the_module_are_those_that_are_built() -> None:
    module = (programs.MODULE / "go.mod").read_text()
    assert f"k8s.io/kubernetes {programs.KUBERNETES}\n" in module
    staging = programs.KUBERNETES.replace("v1.", "v0.")
    replaced = re.findall(r"^\t(\S+) => (\S+) (\S+)$", module, flags=re.M)
    assert len(replaced) > 30
    assert all(old == new and version == staging for old, new, version in replaced)


def outcome(**environment: str) -> str:
    """What pytest says of a test that needs the programs where there is nothing."""
    test = "tests/controlplane/test_lifecycle.py::test_nothing_is_left_after_stop"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]
    kept = {key: value for key, value in os.environ.items() if key != "CI"}
    return subprocess.run(
        command, cwd=TESTS.parent, env={**kept, **environment}, capture_output=True, text=True, check=False
    ).stdout


def test_without_go_a_developer_sees_a_skip_and_a_merge_a_failure(go: Path) -> None:
    go.unlink()
    reason = "the real control plane needs Go on the PATH to build kubernetes, kwok"
    skipped, failed = outcome(), outcome(CI="true")
    assert "1 skipped" in skipped
    assert reason in skipped
    assert "1 error" in failed
    assert reason in failed
