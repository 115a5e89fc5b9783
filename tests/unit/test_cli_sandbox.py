"""apportion sandbox: a server of its own until it is interrupted."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import yaml


async def test_sandbox_writes_a_kubeconfig_serves_and_ends_on_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "apportion.cli", "sandbox", "--kubeconfig", str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readline(), 20)
        assert said.decode() == f"export KUBECONFIG={path}\n"
        server = yaml.safe_load(await asyncio.to_thread(path.read_text))["clusters"][0]["cluster"]["server"]
        async with aiohttp.ClientSession() as http, http.get(f"{server}/api/v1/nodes") as reply:
            assert len((await reply.json())["items"]) == 18
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
