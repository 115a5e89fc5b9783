"""apportion sandbox: the embedded cluster alone."""

import asyncio
import signal
import sys

import click

from apportion.api.crds import crd_documents
from apportion.cli.writing import put
from apportion.sandbox import Sandbox
from apportion.sandbox.manifests import mixed_cluster


def sandbox_command(port: int, nodes: bool, path: str | None) -> None:
    try:
        asyncio.run(_serve(port, nodes, path))
    except OSError as error:
        click.echo(f"error: port {port} cannot be served: {error.strerror}", err=True)
        sys.exit(1)


async def _serve(port: int, nodes: bool, path: str | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Sandbox(port=port) as sandbox:
        furnish(sandbox, nodes)
        put(sandbox.kubeconfig(), path or "-", "--kubeconfig")
        if path not in (None, "-"):
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
