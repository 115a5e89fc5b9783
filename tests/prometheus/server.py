"""A real Prometheus in a folder: scrapes one address, knows the chart's alerts, says which of them fire."""

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from integration.waiting import until

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "helm" / "apportion" / "files" / "alerts.yaml"
PATIENCE_SECONDS = 60.0
SCRAPE = "500ms"

FOR_SECONDS = 2
WINDOW_SECONDS = 15
LIMIT_SECONDS = 6


def in_a_hurry(document: Any) -> Any:
    """The alerts with other clocks and nothing else changed: a test cannot wait a day for a job that starves.

    What holds `for` minutes holds for two seconds, windows have fifteen, and a limit of minutes or more on something
    that is an age has six.
    """
    rules = json.loads(json.dumps(document))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = f"{FOR_SECONDS}s"
            rule["expr"] = re.sub(r"\[\d+[smh]\]", f"[{WINDOW_SECONDS}s]", rule["expr"])
            rule["expr"] = re.sub(r"> (180|600|86400)\b", f"> {LIMIT_SECONDS}", rule["expr"])
    return rules


def free_port() -> int:
    """A port of the loopback address that nobody has just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Prometheus:
    """One server process on a free port of the loopback address, with its data in `folder`."""

    def __init__(self, program: str, folder: Path, target_port: int) -> None:
        self._folder = folder
        rules = in_a_hurry(yaml.safe_load(ALERTS.read_text()))
        config = {
            "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                {"job_name": "apportion", "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}]}
            ],
        }
        (folder / "alerts.yaml").write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._port = free_port()
        self._command = [
            program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "prometheus.log").open("wb") as sink:
            self._process = subprocess.Popen(self._command, stdout=sink, stderr=sink)

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def query(self, expression: str) -> list[Any]:
        """The vector of an instant query."""
        return list((await self._get("query", {"query": expression}))["result"])

    async def firing(self) -> dict[str, Any]:
        """By name: the alerts that fire."""
        alerts = (await self._get("alerts", {}))["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    async def fires(self, name: str) -> Any:
        async def found() -> Any:
            return (await self.firing()).get(name)

        return await until(found, f"{name} fires", PATIENCE_SECONDS, self._told)

    async def calms(self, name: str) -> None:
        async def gone() -> bool:
            return name not in await self.firing()

        await until(gone, f"{name} is resolved", PATIENCE_SECONDS, self._told)

    async def ready(self, metric: str = "apportion_build_info") -> None:
        async def scraped() -> bool:
            try:
                return bool(await self.query(metric))
            except aiohttp.ClientError:
                return False

        await until(scraped, f"Prometheus has scraped {metric}", PATIENCE_SECONDS, self._told)

    async def _get(self, path: str, query: dict[str, str]) -> Any:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"{self.url}/api/v1/{path}", params=query) as reply,
        ):
            return (await reply.json())["data"]

    def _told(self) -> str:
        return (self._folder / "prometheus.log").read_text()
