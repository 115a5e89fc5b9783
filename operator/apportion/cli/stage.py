"""apportion sandbox: the embedded cluster alone."""

import asyncio
import signal
from pathlib import Path

import click

from apportion.api.crds import crd_documents
from apportion.sandbox import Sandbox
from apportion.sandbox.manifests import mixed_cluster


def sandbox_command(port: int, nodes: bool, path: str | None) -> None:
    asyncio.run(_serve(port, nodes, path))


async def _serve(port: int, nodes: bool, path: str | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Sandbox(port=port) as sandbox:
        furnish(sandbox, nodes)
        if path is None:
            click.echo(sandbox.kubeconfig(), nl=False)
        else:
            await asyncio.to_thread(Path(path).write_text, sandbox.kubeconfig(), encoding="utf-8")
            click.echo(f"export KUBECONFIG={path}")
        await stop.wait()


def furnish(sandbox: Sandbox, nodes: bool) -> None:
    """What the chart and a platform team would have made: the definitions, the namespaces, the nodes."""
    for definition in crd_documents():
        sandbox.store.apply(definition)
    sandbox.store.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apportion-system"}})
    sandbox.store.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "apportion-training"},
            "value": 0,
            "preemptionPolicy": "Never",
        }
    )
    for node in mixed_cluster() if nodes else ():
        sandbox.store.apply(node)
