"""Shadow policies: decided in a process of their own, after the round's patches are out, and never waited for."""

import asyncio
import contextlib
import logging
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apportion
from apportion.metrics import Metrics
from apportion.model.rounds import Comparison, Round, ShadowResult
from apportion.planner.beside import HEADER, framed

log = logging.getLogger("apportion")

ROOT = str(Path(apportion.__file__).resolve().parent.parent)
PATIENCE_SECONDS = 60.0
"""For each decision, beyond the policy's own time limit."""
ATTEMPTS_PER_DECISION = 10
"""Solves that a decision takes at most, as a rule."""


class Shadows:
    """`told` gets every round that is offered: with its shadows, or without where there are none or no time for them.

    Only the newest round waits for its turn: what comes faster than shadows can decide passes without them.
    """

    def __init__(self, metrics: Metrics, told: Callable[[Round], None]) -> None:
        self.metrics = metrics
        self.told = told
        self._waiting: Round | None = None
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    def offer(self, round_: Round) -> None:
        if not round_.policy.shadows:
            self.metrics.no_shadows()
            self.told(round_)
            return
        self._pass_by()
        self._waiting = round_
        self._news.set()

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                round_, self._waiting = self._waiting, None
                if round_ is not None:
                    await self._decide(round_)
        finally:
            self._pass_by()
            await self._end()

    def _pass_by(self) -> None:
        if self._waiting is not None:
            self.metrics.shadow_skipped.inc()
            self.told(self._waiting)
            self._waiting = None

    async def _decide(self, round_: Round) -> None:
        results: tuple[ShadowResult, ...] = ()
        try:
            results = await self._asked(round_)
            self.metrics.observe_shadows(results)
        finally:
            self.told(replace(round_, shadows=results))

    async def _asked(self, round_: Round) -> tuple[ShadowResult, ...]:
        policy = round_.policy
        each = PATIENCE_SECONDS + ATTEMPTS_PER_DECISION * policy.solver.time_limit_seconds
        try:
            async with asyncio.timeout(each * (1 + len(policy.shadows))):
                return await self._exchange(framed((round_.snapshot, policy)))
        except (OSError, EOFError, pickle.UnpicklingError, TimeoutError) as problem:
            log.warning("the process of the shadow policies failed and is started anew: %s", problem or "too slow")
            await self._end()
            failure = f"{type(problem).__name__}: {problem}"
            return tuple(
                ShadowResult(shadow.objective, Comparison(shadow.name, failure=failure)) for shadow in policy.shadows
            )

    async def _exchange(self, request: bytes) -> tuple[ShadowResult, ...]:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        await process.stdin.drain()
        (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
        answer: tuple[ShadowResult, ...] = pickle.loads(await process.stdout.readexactly(length))
        return answer

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            paths = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "apportion.planner.beside",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
