"""Start-up, probes and metrics: what is missing is said in one line, shown by readiness, and retried.

Where it matters how a process begins and ends, operators are `fresh` here: each a new interpreter, as a user starts it.
"""

import re
import signal
import socket
from pathlib import Path

from apportion.api.crds import crd_documents
from fault_proxy import Fault
from integration.cluster import Cluster, operating
from integration.operator_process import Operator, is_ready, leads, unready
from integration.waiting import until


def lines(operator: Operator, part: str) -> list[str]:
    return [line for line in operator.log().splitlines() if part in line]


async def test_probes_and_metrics_are_served(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)

    assert await cluster.operator.get("/healthz") == (200, "ok\n")
    assert await cluster.operator.get("/readyz") == (200, "ok\n")

    async def measured() -> bool:
        series = await cluster.operator.metrics()
        used = [value for name, value in series.items() if name.startswith("apportion_") and cluster.flavor in name]
        return 4.0 in used

    await cluster.until(measured, "the flavor's use is measured")
    names = {re.split(r"[{ ]", name)[0] for name in await cluster.operator.metrics()}
    assert len([name for name in names if name.startswith("apportion_")]) >= 10


async def test_a_missing_definition_is_named_and_work_begins_when_it_is_installed(own_cluster: Cluster) -> None:
    cluster = own_cluster
    for definition in crd_documents():
        await cluster.delete("CustomResourceDefinition", definition["metadata"]["name"])

    async def gone() -> bool:
        return await cluster.get("CustomResourceDefinition", "trainingjobs.apportion.dev") is None

    await cluster.until(gone, "the definitions are gone")
    async with operating(cluster, ready=False) as operator:
        sentence = await unready(operator, "CustomResourceDefinition", "queues.apportion.dev")
        assert "trainingjobs.apportion.dev" in sentence
        assert len(lines(operator, "CustomResourceDefinition")) == 1
        assert (await operator.get("/healthz"))[0] == 200

        for definition in crd_documents():
            await cluster.apply(definition)

        await is_ready(operator)
        await cluster.nodes(1)
        await cluster.submit("job")
        await cluster.expect("job", phase="Running", granted=1)


async def test_a_missing_right_is_named_by_verb_and_resource(own_cluster: Cluster) -> None:
    own_cluster.plane.take_rights_away(("patch", "apps", "deployments"), ("list", "", "nodes"))
    async with operating(own_cluster, ready=False) as operator:
        await unready(operator, "patch deployments.apps", "list nodes", "rbac.yaml")
        assert len(lines(operator, "may not patch deployments.apps")) == 1

        own_cluster.plane.give_rights_back()

        await is_ready(operator)
        await own_cluster.nodes(1)
        await own_cluster.submit("job")
        await own_cluster.expect("job", phase="Running", granted=1)


async def test_an_unreachable_server_is_named_and_found_later(own_cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    nowhere = tmp_path / "nowhere"
    nowhere.write_text(own_cluster.plane.kubeconfig.read_text().replace(own_cluster.plane.url, address))
    operator = Operator(nowhere, tmp_path, traced=own_cluster.plane.traced)
    operator.start()
    try:
        await unready(operator, address, "cannot be reached")
        assert (await operator.get("/healthz"))[0] == 200
        assert len(lines(operator, "cannot be reached")) == 1
    finally:
        operator.stop()


async def test_a_missing_kubeconfig_is_named_and_used_when_it_comes(own_cluster: Cluster, tmp_path: Path) -> None:
    later = tmp_path / "later"
    operator = Operator(later, tmp_path, traced=own_cluster.plane.traced, fresh=True)
    own_cluster.operators.append(operator)
    operator.start()
    try:
        await unready(operator, str(later))

        later.write_text(own_cluster.plane.kubeconfig.read_text())

        await is_ready(operator)
    finally:
        operator.stop()


async def test_a_replica_is_ready_when_everything_is_watched_not_before(own_cluster: Cluster) -> None:
    """What a watch would have told of the first jobs would stand behind all objects that there are."""
    wire = own_cluster.plane.wire
    own_cluster.plane.do(lambda: wire.rules.append(Fault(method="GET", path="/pods.*watch=true", status=503)))
    async with operating(own_cluster, ready=False) as operator:
        await unready(operator, "pods are not watched", "503")

        own_cluster.plane.do(wire.rules.clear)

        await is_ready(operator)


async def test_an_outage_keeps_what_runs_is_told_and_work_goes_on_afterwards(own_cluster: Cluster) -> None:
    async with operating(own_cluster, "--audit-seconds", "2") as operator:
        await own_cluster.nodes(1)
        await own_cluster.submit("job", (1, 4))
        await own_cluster.expect("job", phase="Running", granted=4)

        wire = own_cluster.plane.wire
        own_cluster.plane.do(wire.pause)
        own_cluster.plane.do(wire.cut_watches)
        await own_cluster.spec("job", maxReplicas=2)
        await until(lambda: leads(operator, 0.0), "it does not lead any more", told=operator.log)
        await unready(operator, "pods are not watched", "no answer")
        assert (await operator.get("/healthz"))[0] == 200, "a restart would mend nothing"
        assert operator.alive
        own_cluster.plane.do(wire.resume)

        await own_cluster.expect("job", phase="Running", granted=2, deployment=2)
        await is_ready(operator)


async def test_sigterm_ends_the_process_and_gives_the_lease_up(own_cluster: Cluster) -> None:
    async with operating(own_cluster, lease_seconds=30, fresh=True) as first:
        await own_cluster.nodes(1)
        await own_cluster.submit("job")
        await own_cluster.expect("job", phase="Running", granted=1)
        first.stop()
        assert first.process is not None
        assert first.process.returncode in (0, -signal.SIGTERM)

        lease = await own_cluster.get("Lease", "apportion", in_namespace="apportion-system")
        assert lease["spec"].get("holderIdentity", "") == ""
        async with operating(own_cluster, lease_seconds=30):
            await own_cluster.submit("next")
            await own_cluster.expect("next", phase="Running", granted=1)


async def test_a_new_version_alone_resizes_nothing(own_cluster: Cluster) -> None:
    """A restart of the operator over a settled cluster writes nothing but the Lease."""
    async with operating(own_cluster, fresh=True) as operator:
        await own_cluster.nodes(2)
        await own_cluster.queue("default", {"*": 12})
        for name in ("one", "two", "three"):
            await own_cluster.submit(name, (1, 8))
        for name in ("one", "two", "three"):
            await own_cluster.expect(name, phase="Running", granted=4)
        await own_cluster.calm(1.5)
        start = len(own_cluster.plane.writes())

        operator.stop()
        operator.restart()
        await is_ready(operator)
        await until(lambda: leads(operator), "it leads", told=operator.log)
        await own_cluster.calm(1.5)

        assert own_cluster.plane.writes()[start:] == []
