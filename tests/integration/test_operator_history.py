"""Recorded rounds and shadow policies of a real operator: what it wrote decides the same, and no disk disturbs it."""

import json
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from apportion.api.history import read_round, round_files
from apportion.cli.main import cli
from apportion.model.rounds import Round
from apportion.planner import decide
from apportion.planner.shadow import shadowed
from integration.cluster import Cluster, cordon, operating
from integration.manifests import GPU

# Shadows run at a lower priority: where others use the machine they take their time.
LONG = 60
BESIDE = b"apportion.planner.beside"


def rounds(folder: Path) -> list[Round]:
    return [read_round(path) for path in round_files(folder)]


async def with_shadow(cluster: Cluster) -> None:
    """The test's flavor has a price and watts, and a shadow cares for throughput alone."""
    flavor = {
        "name": cluster.flavor, "resource": GPU, "nodeSelector": {"nvidia.com/gpu.product": cluster.product},
        "pricePerHour": "3600", "watts": 700, "idleWatts": 100,
    }  # fmt: skip
    await cluster.policy(flavors=[flavor], shadow=[{"name": "linear", "objective": {"exponent": 1}}])


async def test_every_recorded_round_decides_the_same_again(own_cluster: Cluster, tmp_path: Path) -> None:
    cluster, folder = own_cluster, tmp_path / "history"
    await with_shadow(cluster)
    nodes = await cluster.nodes(2, gpus=8)
    async with operating(cluster, "--history-folder", str(folder), "--identity", "the-leader") as operator:
        await cluster.submit("first", (2, 8), gpus=2)
        await cluster.expect("first", phase="Running", granted=8)
        await cluster.submit("second", (1, 8))
        await cluster.submit("impossible", (1, 1), gpus=16)
        await cluster.expect("second", phase="Running")
        await cordon(cluster, nodes[1])
        await cluster.submit("third", (12, 12))
        await cluster.expect("third", phase="Pending", granted=0)
        await cordon(cluster, nodes[1], False)
        await cluster.delete("TrainingJob", "first")
        await cluster.expect("third", phase="Running", granted=12)
        await cluster.calm()

        async def shadow_is_measured() -> bool:
            series = await operator.metrics()
            return 'apportion_shadow_value{shadow="linear"}' in series and series["apportion_recorded_rounds_total"] > 3

        await cluster.until(shadow_is_measured, "shadows are measured and rounds recorded", LONG)
        series = await operator.metrics()
    found = rounds(folder)
    assert len(found) >= series["apportion_recorded_rounds_total"]
    assert len(found) > 5
    for one in found:
        assert decide(one.snapshot, one.policy) == one.decision
        assert {one.leader, one.rule, one.policy.shadows[0].name} == {"the-leader", "program", "linear"}
    assert any(one.snapshot.prices for one in found)
    with_shadows = [one for one in found if one.shadows]
    assert with_shadows
    assert all(one.shadows == shadowed(one.snapshot, one.policy) for one in with_shadows)
    ordered = [one.snapshot.now for one in found]
    assert ordered == sorted(ordered)
    outcomes = [outcome for one in found for outcome in one.decision.outcomes if outcome.granted.replicas]
    admitted = {outcome.key.name for outcome in outcomes if outcome.key.namespace == cluster.namespace}
    assert admitted == {"first", "second", "third"}
    replayed = CliRunner().invoke(cli, ["replay", str(folder), "--check", "-o", "json"])
    assert replayed.exit_code == 0, replayed.output
    assert {one["decidedAgain"] for one in json.loads(replayed.stdout)["rounds"]} == {"same"}


async def test_an_unwritable_folder_is_told_once_and_changes_nothing(own_cluster: Cluster, tmp_path: Path) -> None:
    cluster, folder = own_cluster, tmp_path / "history"
    folder.write_text("a file stands in its place")
    await cluster.nodes(1, gpus=8)
    async with operating(cluster, "--history-folder", str(folder)) as operator:
        for name in ("first", "second", "third"):
            await cluster.submit(name, (1, 2))
            await cluster.expect(name, phase="Running", granted=2)

        async def counted() -> bool:
            return (await operator.metrics()).get('apportion_unrecorded_rounds_total{reason="Disk"}', 0.0) >= 3

        await cluster.until(counted, "each round that is not recorded is counted")
        assert operator.log().count("rounds are not recorded to") == 1
        assert await operator.get("/readyz") == (200, "ok\n")


async def test_a_shadow_that_cannot_run_harms_nothing(own_cluster: Cluster, tmp_path: Path) -> None:
    """Its process is killed as soon as it is there; rounds go on, and are recorded."""
    cluster, folder = own_cluster, tmp_path / "history"
    await with_shadow(cluster)
    await cluster.nodes(1, gpus=8)
    async with operating(cluster, "--history-folder", str(folder)) as operator:
        await cluster.submit("first", (1, 2))
        await cluster.expect("first", phase="Running", granted=2)
        for name in ("second", "third"):
            await cluster.until(lambda: operator.signal_children(BESIDE, signal.SIGKILL), "its process is killed", LONG)
            await cluster.submit(name, (1, 2))
            await cluster.expect(name, phase="Running", granted=2)

        async def failed() -> bool:
            return (await operator.metrics()).get('apportion_shadow_failures_total{shadow="linear"}', 0.0) >= 1

        await cluster.until(failed, "its failure is counted", LONG)
    assert len(rounds(folder)) >= 3


async def test_a_round_that_waits_for_its_shadows_when_the_operator_ends_is_recorded(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    cluster, folder = own_cluster, tmp_path / "history"
    await with_shadow(cluster)
    await cluster.nodes(1, gpus=8)
    async with operating(cluster, "--history-folder", str(folder)) as operator:
        await cluster.until(lambda: operator.signal_children(BESIDE, signal.SIGSTOP), "it hangs", LONG)
        await cluster.submit("first", (1, 2))
        await cluster.expect("first", phase="Running", granted=2)
        await cluster.calm()
        decided = (await operator.metrics())['apportion_round_duration_seconds_count{phase="total"}']
    assert len(rounds(folder)) == decided
    last = rounds(folder)[-1]
    # The real cluster may still hold jobs that other tests left.
    mine = [outcome for outcome in last.decision.outcomes if outcome.key.namespace == cluster.namespace]
    assert [outcome.granted.replicas for outcome in mine] == [2]
    assert last.shadows == ()


async def test_money_and_energy_add_up_between_rounds(own_cluster: Cluster) -> None:
    cluster = own_cluster
    await with_shadow(cluster)
    await cluster.nodes(1, gpus=8)
    async with operating(cluster) as operator:
        await cluster.submit("first", (2, 2))
        await cluster.expect("first", phase="Running", granted=2, ready=2)
        labels = f'{{flavor="{cluster.flavor}",queue="",use="jobs"}}'
        idle = labels.replace("jobs", "idle")

        async def held() -> bool:
            return (await operator.metrics()).get(f"apportion_power_watts{labels}") == 1400.0

        await cluster.until(held, "two accelerators are busy")
        await cluster.calm()
        before = await operator.metrics()

        async def more() -> bool:
            now = await operator.metrics()
            return now[f"apportion_cost_total{labels}"] > before[f"apportion_cost_total{labels}"] + 2.0

        await cluster.until(more, "what is held is paid for although nothing happens")
        after = await operator.metrics()
        spent = after[f"apportion_cost_total{labels}"] - before[f"apportion_cost_total{labels}"]
        energy = after[f"apportion_energy_joules_total{idle}"] - before[f"apportion_energy_joules_total{idle}"]
        # 2 x 3600 an hour are 2 a second; 6 x 100 W are idle.
        assert energy / spent == pytest.approx(600 / 2)
