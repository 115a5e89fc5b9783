"""Recorded rounds: written by a thread of its own, so that no disk, however slow or full, delays a round."""

import logging
import queue
import threading
from pathlib import Path

from apportion.api.history import write_round
from apportion.metrics import Metrics
from apportion.model.rounds import Round

log = logging.getLogger("apportion")

MOST_WAITING = 16
GOODBYE_SECONDS = 5.0


class Recorder:
    """Rounds that cannot be written are counted, and told once until one can be written again.

    A round that finds `MOST_WAITING` others before it is not recorded: the disk is too slow for all.
    """

    def __init__(self, folder: Path, most_bytes: int, metrics: Metrics) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.metrics = metrics
        self._failing = False
        self._rounds: queue.Queue[Round | None] = queue.Queue(MOST_WAITING)
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def record(self, round_: Round) -> None:
        """Returns at once."""
        try:
            self._rounds.put_nowait(round_)
        except queue.Full:
            self._failed("Slow", f"{MOST_WAITING} rounds wait for the disk")

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        try:
            self._rounds.put(None, timeout=GOODBYE_SECONDS)
        except queue.Full:
            return
        self._thread.join(GOODBYE_SECONDS)

    def _write_all(self) -> None:
        while (round_ := self._rounds.get()) is not None:
            try:
                write_round(self.folder, round_, self.most_bytes)
            except OSError as error:
                self._failed("Disk", error.strerror or str(error))
            except Exception as error:
                self._failed("Failed", f"{type(error).__name__}: {error}")
            else:
                self.metrics.recorded.inc()
                if self._failing:
                    log.info("rounds are recorded again to %s", self.folder)
                self._failing = False

    def _failed(self, reason: str, why: str) -> None:
        self.metrics.unrecorded.labels(reason).inc()
        if not self._failing:
            log.warning("rounds are not recorded to %s: %s", self.folder, why)
        self._failing = True
