"""Malformed, hostile and forged objects: a reason for their owner, nothing for anybody else."""

import pytest

from apportion.kube.client import Refused
from integration.cluster import Cluster
from integration.manifests import GPU
from integration.reading import condition, seen_of


async def test_a_contradiction_that_only_the_operator_sees_is_invalid_and_disturbs_nobody(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("good", (1, 2))
    await cluster.expect("good", phase="Running", granted=2)

    await cluster.submit("bad", (1, 2), accelerators={"perReplica": 4})

    job = await cluster.expect(
        "bad", phase="Invalid", granted=0, invalid=("spec.accelerators.perReplica", "the template counts", "1", "4")
    )
    assert condition(job, "Invalid")["reason"] == "InvalidSpec"
    await cluster.event("bad", "InvalidSpec", "perReplica")
    await cluster.submit("later", (1, 2))
    await cluster.expect("later", phase="Running", granted=2)
    await cluster.expect("good", phase="Running", granted=2)

    await cluster.spec("bad", accelerators={"perReplica": 1})
    await cluster.expect("bad", phase="Running", granted=2, invalid=None)


async def test_what_runs_is_not_touched_when_its_spec_becomes_invalid(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("run", (2, 4))
    await cluster.expect("run", phase="Running", granted=4)
    uids = await cluster.uids("run")

    await cluster.spec("run", accelerators={"resource": "amd.com/gpu"})

    await cluster.expect("run", phase="Invalid", granted=4, invalid="amd.com/gpu", deployment=4)
    await cluster.submit("other", (4, 4))
    await cluster.expect("other", phase="Running", granted=4)
    await cluster.expect("run", granted=4, deployment=4)
    assert await cluster.uids("run") == uids


async def test_a_minimum_above_the_maximum_is_refused_or_invalid(cluster: Cluster) -> None:
    await cluster.nodes(1)
    try:
        await cluster.submit("upside-down", (4, 2))
    except Refused as refused:
        assert refused.code == 422  # noqa: PT017
        assert "minReplicas" in refused.message  # noqa: PT017
    else:
        await cluster.expect("upside-down", phase="Invalid", invalid="minReplicas")


# --- hostile ----------------------------------------------------------------------------------------------------------


HOSTILE = {
    "negative minimum": {"minReplicas": -1},
    "no maximum": {"maxReplicas": None},
    "huge maximum": {"maxReplicas": 10**18},
    "beyond 64 bits": {"maxReplicas": 10**30},
    "fraction": {"maxReplicas": 2.5},
    "text for a number": {"maxReplicas": "many"},
    "list for an object": {"accelerators": []},
    "text for a list": {"replicaSteps": "1,2"},
    "steps that fall": {"replicaSteps": [2, 1]},
    "empty steps": {"replicaSteps": []},
    "a megabyte of queue name": {"queueName": "q" * 1_000_000},
    "a megabyte of priority class": {"priorityClassName": "p" * 1_000_000},
    "unicode queue": {"queueName": "Größe-🦙"},
    "unicode flavor": {"accelerators": {"flavors": [{"name": "h100\u202e"}]}},
    "no containers": {"template": {"spec": {"containers": []}}},
    "containers of another type": {"template": {"spec": {"containers": [None, 3, "x"]}}},
    "no template spec": {"template": {}},
    "resources of another type": {"template": {"spec": {"containers": [{"name": "a", "resources": 7}]}}},
    "quantity that is none": {
        "template": {"spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {GPU: "lots"}}}]}}
    },
    "negative quantity": {
        "template": {"spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {GPU: "-3"}}}]}}
    },
    "fractional GPU": {
        "template": {"spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {GPU: "500m"}}}]}}
    },
    "both workloads": {"workloadRef": {"name": "x"}, "template": {"spec": {"containers": [{"name": "a"}]}}},
    "another kind": {"workloadRef": {"kind": "StatefulSet", "name": "x"}, "template": None},
    "infinite rate": {"scaling": {"points": [{"replicas": 1, "rate": "Infinity"}]}},
    "falling usl": {"scaling": {"usl": {"lambda": -1, "sigma": 0, "kappa": 0}}},
    "negative timeout": {"placementTimeoutSeconds": -5},
    "ten years": {"restartSeconds": 315_360_000},
    "unknown operator": {"accelerators": {"requirements": [{"key": "a", "operator": "Resembles", "values": ["b"]}]}},
    "comparison with words": {"accelerators": {"requirements": [{"key": "a", "operator": "Gt", "values": ["big"]}]}},
    "unknown fields": {"frobnicate": {"deep": [1, 2, {"x": None}]}, "minReplica": 3},
}


async def test_hostile_specs_are_refused_or_invalid_and_disturb_nobody(cluster: Cluster) -> None:
    """All at once: a bad neighbour is the point."""
    await cluster.nodes(1, gpus=8)
    await cluster.submit("victim", (2, 2))
    await cluster.expect("victim", phase="Running", granted=2)
    pods = await cluster.uids("victim")
    taken: dict[str, str] = {}

    for index, (what, spec) in enumerate(HOSTILE.items()):
        body = cluster.job(f"hostile-{index}")
        body["spec"] = {key: value for key, value in {**body["spec"], **spec}.items() if value is not None}
        try:
            await cluster.apply(body)
        except Refused as refused:
            assert refused.code in (400, 413, 422), (what, refused)  # noqa: PT017
            assert len(refused.message) < 20_000, what  # noqa: PT017
        else:
            taken[f"hostile-{index}"] = what

    await cluster.submit("after", (2, 2))
    await cluster.expect("after", phase="Running", granted=2)
    await cluster.expect("victim", phase="Running", granted=2, degraded=None)
    assert await cluster.uids("victim") == pods
    for name in taken:
        job = await cluster.until(lambda name=name: told(cluster, name), f"a word about {taken[name]}")
        assert len(str(job["status"])) < 20_000
    for name in ("hostile-0", "hostile-5", "hostile-14", "hostile-21"):
        assert name not in taken or seen_of(await cluster.get("TrainingJob", name))["phase"] == "Invalid", taken[name]
    assert "Traceback" not in cluster.operator.log()


async def told(cluster: Cluster, name: str) -> object:
    job = await cluster.get("TrainingJob", name)
    return job if seen_of(job)["phase"] and seen_of(job)["says"] else None


@pytest.mark.parametrize("name", ["UPPER", "dot.", "snowman-☃", "n" * 64, "-dash"])
async def test_impossible_names_are_refused_or_invalid(cluster: Cluster, name: str) -> None:
    await cluster.nodes(1)
    try:
        await cluster.submit(name)
    except Refused as refused:
        assert refused.code in (400, 404, 422)  # noqa: PT017
    else:
        await cluster.expect(name, phase="Invalid", invalid="name")


async def test_a_forged_status_costs_nobody_the_process_and_is_set_right(cluster: Cluster) -> None:
    """Whoever may write status can lie about the past; what is granted is what there is all the same."""
    await cluster.nodes(1, gpus=4)
    await cluster.submit("honest", (4, 4))
    await cluster.expect("honest", phase="Running", granted=4)
    await cluster.submit("liar", (1, 4))
    await cluster.expect("liar", refused="NoCapacity")

    forged = {"flavor": cluster.flavor, "replicas": 4000, "round": 1, "since": "2020-01-01T00:00:00Z"}
    await cluster.patch("TrainingJob", "liar", {"status": {"admission": forged}}, "status")

    async def set_right() -> bool:
        jobs = [seen_of(job) for job in await cluster.all("TrainingJob")]
        return sum(job["granted"] for job in jobs) == 4 and sum(job["ready"] for job in jobs) == 4

    await cluster.until(set_right, "four are granted, and four run")
    assert "Traceback" not in cluster.operator.log()
