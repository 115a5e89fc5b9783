"""/healthz, /readyz and /metrics on one port."""

from collections.abc import Callable

from aiohttp import web

from apportion.metrics import Metrics


class Probes:
    """Liveness follows the allocator's progress, readiness what was found wrong; both say it in the body."""

    def __init__(self, metrics: Metrics, stuck: Callable[[], str], unready: Callable[[], str]) -> None:
        self.metrics = metrics
        self.stuck = stuck
        self.unready = unready
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """The port that is served. Raises OSError where it is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/livez", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _said(self.stuck())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _said(self.unready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), content_type="text/plain", charset="utf-8")


def _said(problem: str) -> web.Response:
    return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)
