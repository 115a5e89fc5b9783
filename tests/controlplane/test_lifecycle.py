"""A control plane leaves no process behind, however it or its owner ends, and says why it did not start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane import processes, programs
from controlplane.plane import Plane
from controlplane.processes import Failed, Process, free_ports, kill_orphans

TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 60


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


def test_nothing_is_left_after_stop(plane_programs: programs.Say, tmp_path: Path) -> None:
    with Plane(tmp_path, say=plane_programs) as plane:
        pids = [process.pid for process in plane.processes]
        assert living(pids) == pids
        assert set(pids) <= set(processes.owned())
        port = plane.admin.port
    assert len(pids) == 5
    assert living(pids) == []
    with pytest.raises(OSError, match="refused"):
        plane.admin.request("GET", "/readyz")
    # The API server can come back at its port at once.
    assert port < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_nothing_is_left_after_the_owner_was_killed(plane_programs: programs.Say, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controlplane", "up", str(tmp_path / "plane")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        until(lambda: "KUBECONFIG" in owner.stdout.readline(), "the plane is up")  # type: ignore[union-attr]
        pids = [pid for pid, whose in processes.owned().items() if whose.startswith(f"{owner.pid}@")]
        assert len(living(pids)) == 5
        owner.send_signal(signal.SIGKILL)
    until(lambda: not living(pids), "all five have ended")


def test_failed_start_shows_the_logs_and_leaves_nothing(
    plane_programs: programs.Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a broken API server of the user's own, which is also how one's own is named."""
    assets = tmp_path / "assets"
    assets.mkdir()
    for name, script in {"etcd": "exec sleep 3600", "kube-apiserver": "echo no port for me; exit 3"}.items():
        (assets / name).write_text(f"#!/bin/sh\n{script}\n")
        (assets / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    plane = Plane(tmp_path / "plane", say=plane_programs)
    with pytest.raises(Failed, match=r"kube-apiserver ended before(.|\n)*no port for me"):
        plane.start()
    assert not any(process.alive for process in plane.processes)


def test_process_of_a_dead_owner_is_ended_at_the_next_start() -> None:
    environment = {**os.environ, processes.OWNER: "1@0"}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE) as orphan:
        until(lambda: orphan.pid in processes.owned(), "the orphan runs")
        # A plane that starts beside this test may be faster.
        kill_orphans()
        assert orphan.wait(PATIENCE_SECONDS) == -signal.SIGKILL


def test_process_runs_again_after_stop_and_its_log_goes_on(tmp_path: Path) -> None:
    process = Process("talker", ["/bin/sh", "-c", "echo here; exec sleep 3600"], tmp_path)
    for times in (1, 2):
        process.start()
        until(lambda: process.log.read_text() == "here\n" * times, f"it spoke {times} times")  # noqa: B023
        assert process.alive
        assert "talker runs" in process.tail()
        process.stop()
        assert not process.alive
        assert "talker has ended" in process.tail()


def test_process_that_ignores_sigterm_is_killed_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    process = Process("deaf", ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"], tmp_path)
    process.start()
    until(lambda: "deaf" in process.log.read_text(), "the trap is set")
    with pytest.raises(Failed, match="deaf did not end"):
        process.stop()
    assert not process.alive


def test_ports_are_distinct_and_out_of_reach_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert max(ports) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
