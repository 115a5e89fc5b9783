"""The recorder in front of disks that are full, gone or slow."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from apportion.api.history import read_round, round_files
from apportion.config import Settings
from apportion.controller import recorder as module
from apportion.controller.app import Operator
from apportion.controller.recorder import MOST_WAITING, Recorder
from apportion.metrics import Metrics
from apportion.model.rounds import Round
from builders import NOW
from unit.test_history import a_round

PLENTY = 10**9


def counted(metrics: Metrics) -> tuple[float, dict[str, float]]:
    """(recorded, not recorded by reason)."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    lost = {s.labels["reason"]: s.value for s in samples if s.name == "apportion_unrecorded_rounds_total"}
    return next(s.value for s in samples if s.name == "apportion_recorded_rounds_total"), lost


def test_rounds_are_written_in_order_and_those_that_wait_also_at_the_end(tmp_path: Path) -> None:
    metrics = Metrics()
    recorder = Recorder(tmp_path, PLENTY, metrics)
    for index in range(5):
        recorder.record(a_round(NOW + index))
    recorder.close()
    assert [read_round(path).snapshot.now - NOW for path in round_files(tmp_path)] == [0, 1, 2, 3, 4]
    assert counted(metrics) == (5, {})


def test_the_bound_is_kept(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1, Metrics())
    for index in range(3):
        recorder.record(a_round(NOW + index))
    recorder.close()
    assert [read_round(path).snapshot.now - NOW for path in round_files(tmp_path)] == [2]


def test_a_folder_that_cannot_be_written_is_told_once_and_counted_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, folder = Metrics(), tmp_path / "history"
    folder.write_text("a file stands in its place")
    with caplog.at_level(logging.INFO, "apportion"):
        recorder = Recorder(folder, PLENTY, metrics)
        for index in range(3):
            recorder.record(a_round(NOW + index))
        recorder.close()
        assert counted(metrics) == (0, {"Disk": 3})
        assert [record.getMessage() for record in caplog.records] == [
            f"rounds are not recorded to {folder}: File exists"
        ]


def test_a_disk_that_is_mended_is_used_again_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, folder = Metrics(), tmp_path / "history"
    folder.write_text("a file stands in its place")
    write, tried = module.write_round, threading.Semaphore(0)

    def watched(where: Path, round_: Round, most: int) -> Path:
        try:
            return write(where, round_, most)
        finally:
            tried.release()

    monkeypatch.setattr(module, "write_round", watched)
    with caplog.at_level(logging.INFO, "apportion"):
        recorder = Recorder(folder, PLENTY, metrics)
        recorder.record(a_round(NOW))
        assert tried.acquire(timeout=20)
        folder.unlink()
        recorder.record(a_round(NOW + 1))
        recorder.record(a_round(NOW + 2))
        recorder.close()
    assert counted(metrics) == (2, {"Disk": 1})
    assert [record.getMessage() for record in caplog.records][1:] == [f"rounds are recorded again to {folder}"]


def test_a_disk_that_hangs_delays_nobody_and_loses_only_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, entered, free = Metrics(), threading.Event(), threading.Event()
    write = module.write_round

    def hanging(where: Path, round_: Round, most: int) -> Path:
        entered.set()
        assert free.wait(60)
        return write(where, round_, most)

    monkeypatch.setattr(module, "write_round", hanging)
    recorder = Recorder(tmp_path, PLENTY, metrics)
    recorder.record(a_round(NOW))
    assert entered.wait(20)
    for index in range(1, MOST_WAITING + 4):
        recorder.record(a_round(NOW + index))
    assert counted(metrics) == (0, {"Slow": 3})
    free.set()
    recorder.close()
    assert counted(metrics) == (MOST_WAITING + 1, {"Slow": 3})
    assert len(round_files(tmp_path)) == MOST_WAITING + 1


def test_a_round_that_cannot_be_written_at_all_does_not_end_the_recorder(tmp_path: Path) -> None:
    metrics = Metrics()
    recorder = Recorder(tmp_path, PLENTY, metrics)
    recorder.record(Round(object(), None, None))  # type: ignore[arg-type]
    recorder.record(a_round(NOW))
    recorder.close()
    assert counted(metrics) == (1, {"Failed": 1})
    assert len(list(tmp_path.iterdir())) == 1


async def test_the_operator_ends_after_what_it_has_to_record(tmp_path: Path) -> None:
    stop = asyncio.Event()
    operator = Operator(Settings(kubeconfig="/nowhere", port=0, history_folder=str(tmp_path)), stop)
    for index in range(MOST_WAITING):
        operator._record(a_round(NOW + index))
    stop.set()
    await operator.run()
    assert len(round_files(tmp_path)) == MOST_WAITING
