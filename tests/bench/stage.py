"""A sandbox in its own process: python -m bench.stage KUBECONFIG NODES JOBS. Runs until its standard input closes."""

import asyncio
import sys
from pathlib import Path

from apportion.cli.stage import furnish
from apportion.sandbox import Sandbox, gpu_node

GPU = "nvidia.com/gpu"


def training_job(name: str, low: int, high: int, gpus: int) -> dict[str, object]:
    container = {"name": "main", "image": "trainer:1", "resources": {"limits": {GPU: str(gpus)}}}
    return {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"minReplicas": low, "maxReplicas": high, "template": {"spec": {"containers": [container]}}},
    }


async def serve(kubeconfig: str, nodes: int, jobs: int) -> None:
    async with Sandbox() as sandbox:
        furnish(sandbox, nodes=False)
        for index in range(nodes):
            sandbox.store.apply(gpu_node(f"gpu-{index:04}"))
        for index in range(jobs):
            sandbox.store.apply(training_job(f"stock-{index:04}", 1, 2, 1))
        await asyncio.to_thread(Path(kubeconfig).write_text, sandbox.kubeconfig())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
