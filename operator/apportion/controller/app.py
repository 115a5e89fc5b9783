"""The process: connect, check, elect, watch, decide; each part is started again when it ends."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from apportion.config import Settings
from apportion.controller import garbage
from apportion.controller.allocator import Allocator
from apportion.controller.observer import Observer
from apportion.controller.probes import Probes
from apportion.controller.recorder import Recorder
from apportion.controller.rehearsal import rehearse
from apportion.controller.sight import Sight
from apportion.controller.watches import watch
from apportion.kube import kinds
from apportion.kube.client import Api, NoConfiguration, Refused, Unreachable, connect
from apportion.kube.lease import Election
from apportion.kube.preflight import problems
from apportion.metrics import Metrics
from apportion.model.rounds import Round

log = logging.getLogger("apportion")

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0
STUCK_SECONDS = 120.0
HEARTBEAT_SECONDS = 1.0
# Should a watch be alive and yet not tell everything.
WHOLE_AUDIT_SECONDS = 600.0
# What vanished before a watch began anew is looked for so soon.
MISSED_SECONDS = 1.0


class Operator:
    """One replica. `run` returns after `stop` was set; problems are said, shown by readiness, and tried again."""

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self.settings = settings
        self.stop = stop
        self.metrics = Metrics()
        self.probes = Probes(self.metrics, self.stuck, self.unready)
        self.problem = "starting"
        self.identity = settings.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.recorder = (
            Recorder(Path(settings.history_folder), settings.history_mebibytes * 2**20, self.metrics)
            if settings.history_folder
            else None
        )
        self.election: Election | None = None
        self.allocator: Allocator | None = None

    async def run(self) -> None:
        port = await self.probes.start(self.settings.host, self.settings.port)
        log.info("serving /metrics, /healthz and /readyz on port %d", port)
        work = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            stopped.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await self.probes.stop()
            if self.recorder is not None:
                await asyncio.to_thread(self.recorder.close)

    def _record(self, round_: Round) -> None:
        if self.recorder is not None:
            self.recorder.record(round_)

    async def _work(self) -> None:
        rehearsed = asyncio.create_task(asyncio.to_thread(rehearse))
        async with await self._connected() as api:
            await self._checked(api)
            leads = self._elected(api)
            self.allocator = Allocator(
                api, self.settings, self.metrics, leads, identity=self.identity, told=self._record
            )
            self.metrics.leader.set_function(leads)
            await self._listed(self.allocator)
            await rehearsed
            self.problem = ""
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._again("watches", lambda: self._watch(api)))
                    tasks.create_task(self._again("rounds", self.allocator.rounds))
                    tasks.create_task(self._again("audit", self._audits))
                    tasks.create_task(self._again("events", self.allocator.events.run))
                    observer = Observer(self.allocator, self.settings, leads, api.clock.now)
                    tasks.create_task(self._again("observer", observer.run))
                    tasks.create_task(self._again("shadows", self.allocator.shadows.run))
                    tasks.create_task(self._heartbeat())
                    tasks.create_task(self._begin(self.allocator.sight))
                    if self.election is not None:
                        tasks.create_task(self._again("election", self._elections))
            finally:
                if self.election is not None:
                    with contextlib.suppress(Refused, Unreachable):
                        await self.election.release()

    async def _connected(self) -> Api:
        """A configured client; without a configuration there is nothing to retry against until one appears."""
        async for _ in self._attempts():
            try:
                return await connect(self.settings.kubeconfig, self.settings.context)
            except NoConfiguration as error:
                self._say(str(error))
        raise AssertionError("attempts never end")

    async def _checked(self, api: Api) -> None:
        async for _ in self._attempts():
            found = await problems(api, self.settings.watch_namespaces)
            if not found:
                return
            self._say("; ".join(found))

    async def _listed(self, allocator: Allocator) -> None:
        async for _ in self._attempts():
            try:
                await allocator.audit()
            except (Refused, Unreachable) as error:
                self._say(f"the cluster could not be listed: {error}")
                continue
            return

    async def _attempts(self) -> AsyncIterator[None]:
        """For ever, with a growing pause."""
        wait = FIRST_RETRY_SECONDS
        while True:
            yield
            await asyncio.sleep(wait)
            wait = min(LONGEST_RETRY_SECONDS, wait * 2)

    def _say(self, problem: str) -> None:
        """One line, when it is new."""
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem

    def _elected(self, api: Api) -> Callable[[], bool]:
        if not self.settings.leader_election:
            return lambda: True
        self.election = Election(
            api, self.settings.namespace, self.settings.lease_name, self.identity, self.settings.lease_seconds
        )
        return self.election.leads

    async def _again(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        """Run a part for ever: what ends or fails is said, and started again with a growing pause."""
        wait = FIRST_RETRY_SECONDS
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await part()
            except (Refused, Unreachable) as error:
                log.warning("%s: %s; again in %.0f s", name, error, wait)
            except Exception:
                log.exception("%s failed; again in %.0f s", name, wait)
            lasted = asyncio.get_running_loop().time() - started
            wait = FIRST_RETRY_SECONDS if lasted > LONGEST_RETRY_SECONDS else wait
            await asyncio.sleep(wait)
            wait = min(LONGEST_RETRY_SECONDS, wait * 2)

    async def _watch(self, api: Api) -> None:
        assert self.allocator is not None
        await watch(api, self.allocator.take, self.allocator.precedence, self.allocator.sight)

    async def _begin(self, sight: Sight) -> None:
        """Watches begin with all objects there are: the most of what is kept is known by then."""
        await sight.whole.wait()
        garbage.set_aside()

    async def _audits(self) -> None:
        """LISTs of what a watch may have missed, soon; of what is not watched; and seldom of everything."""
        assert self.allocator is not None
        sight, now = self.allocator.sight, self.allocator.monotonic
        next_at, whole_at = now() + self.settings.audit_seconds, now() + WHOLE_AUDIT_SECONDS
        while True:
            await asyncio.sleep(MISSED_SECONDS)
            if now() >= whole_at:
                await self.allocator.audit()
                garbage.set_aside()
                next_at, whole_at = now() + self.settings.audit_seconds, now() + WHOLE_AUDIT_SECONDS
            elif now() >= next_at:
                await self.allocator.audit(sight.unsure())
                next_at = now() + self.settings.audit_seconds
            else:
                await self.allocator.audit(sight.anew())

    async def _elections(self) -> None:
        assert self.election is not None
        assert self.allocator is not None
        led = False
        while True:
            leads = await self._tick(self.election)
            if leads != led:
                log.info("leading" if leads else f"not leading: {self.election.holder or 'nobody'} does")
                led = leads
                self.allocator.dirty.mark()
            await asyncio.sleep(self.settings.lease_seconds / 3 if leads else min(1.0, self.settings.lease_seconds / 3))

    async def _tick(self, election: Election) -> bool:
        try:
            return await election.tick()
        except (Refused, Unreachable) as error:
            log.warning("the Lease %s/%s: %s", election.namespace, election.name, error)
            return election.leads()

    async def _heartbeat(self) -> None:
        """Gauges that grow by themselves."""
        assert self.allocator is not None
        while True:
            sight = self.allocator.sight
            self.metrics.snapshot_age.set(min(sight.age(), 1e9))
            unwatched = sight.unwatched()
            for kind in kinds.WATCHED:
                self.metrics.unwatched.labels(str(kind)).set(unwatched.get(kind, 0.0))
            if self.allocator.leads():
                self.metrics.meter(self.allocator.monotonic())
            else:
                self.metrics.rest()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def stuck(self) -> str:
        """Why the process should be restarted; "" while the loop makes progress."""
        if self.allocator is None:
            return ""
        idle = self.allocator.monotonic() - self.allocator.progressed_at
        return f"the allocator made no progress for {idle:.0f} s" if idle > STUCK_SECONDS else ""

    def unready(self) -> str:
        """Why this replica cannot decide as it should; "" when it can. One that does not lead is ready all the same."""
        if self.problem:
            return self.problem
        assert self.allocator is not None
        sight = self.allocator.sight
        said = [
            f"{kind} are not watched for {seconds:.0f} s: {sight.why(kind) or 'no answer'}"
            for kind, seconds in sight.unwatched().items()
            if seconds > self.settings.audit_seconds or not sight.whole.is_set()
        ]
        if sight.age() > self.settings.stale_seconds:
            said.append(f"nothing is known of the last {sight.age():.0f} s, and nothing is decided")
        return "; ".join(said)


def run(settings: Settings) -> None:
    """Run one replica until SIGTERM or SIGINT."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    garbage.collect_seldom()
    asyncio.run(_main(settings))


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Operator(settings, stop).run()
