"""A TrainingJob with what is around it, as a `Job`: its whole spec, its template's word, and who may touch what."""

from dataclasses import fields
from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.cluster import Cluster
from apportion.kube.kinds import Kind
from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Points, Usl
from apportion.model.jobs import Block, FlavorChoice, Job, Target
from apportion.model.selection import Requirement
from apportion.sandbox.manifests import container

GPU, FPGA = "nvidia.com/gpu", "xilinx.com/fpga"
Others = tuple[tuple[Kind, dict[str, Any]], ...]


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": "1", **more}


def pods(*asked: tuple[str, int | str], **spec: Any) -> dict[str, Any]:
    """A pod template whose one container asks for these."""
    limits = {name: str(amount) for name, amount in asked}
    return {"spec": {"containers": [{"name": "main", "image": "x", "resources": {"limits": limits}}], **spec}}


ONE_GPU = pods((GPU, 1))


def asking(template: Any = ONE_GPU, annotations: Any = None, **spec: Any) -> dict[str, Any]:
    body = {"maxReplicas": 4, "template": template, **spec}
    return {
        "metadata": meta("job", annotations=annotations or {}),
        "spec": {k: v for k, v in body.items() if v is not None},
    }


def naming(**spec: Any) -> dict[str, Any]:
    return asking(None, workloadRef={"name": "theirs"}, **spec)


def deployment(name: str = "theirs", template: Any = ONE_GPU, **more: Any) -> dict[str, Any]:
    labels = {"apportion.dev/managed": "true"}
    return {"metadata": meta(name, labels=labels, **more), "spec": {"replicas": 2, "template": template}}


def scaler(name: str, kind: str = "Deployment") -> dict[str, Any]:
    return {"metadata": meta("hpa"), "spec": {"scaleTargetRef": {"kind": kind, "name": name}}}


def seen(raw: dict[str, Any], *others: tuple[Kind, dict[str, Any]]) -> Job:
    """The job `job` as the planner gets it."""
    cluster = Cluster()
    cluster.apply(kinds.JOB, raw)
    for kind, other in others:
        cluster.apply(kind, other)
    return next(job for job in cluster.snapshot(1.8e9).jobs if job.key.name == "job")


def test_every_field_of_a_spec_reaches_the_planner() -> None:
    spec = {
        "queueName": "red",
        "priorityClassName": "high",
        "suspend": True,
        "preemptible": False,
        "minReplicas": 2,
        "maxReplicas": 8,
        "replicaSteps": [2, 4, 8],
        "accelerators": {
            "resource": GPU,
            "perReplica": 1,
            "flavors": [{"name": "h100", "speed": 0.5}, {"name": "a100"}],
            "requirements": [{"key": "memory", "operator": "Gt", "values": ["40"]}],
        },
        "scaling": {"usl": {"lambda": 2, "sigma": 0.1, "kappa": 0.01}},
        "target": {"throughput": 7},
        "restartSeconds": 61,
        "minRuntimeSeconds": 62,
        "placementTimeoutSeconds": 63,
        "failureLimit": 64,
        "completionPolicy": "Never",
    }
    said = {"hold": "true", "completed": "true", "retry": "again"}
    raw = asking(annotations={f"apportion.dev/{key}": value for key, value in said.items()}, **spec)
    raw["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z", "generation": 5}
    raw["status"] = {"observedGeneration": 4, "phase": "Suspended"}
    high = {"metadata": {"name": "high"}, "value": 1000}
    job = seen(
        raw, (kinds.PRIORITY_CLASS, high), (kinds.NAMESPACE, {"metadata": {"name": "team", "labels": {"a": "b"}}})
    )
    assert (job.uid, job.created, job.generation, job.observed_generation) == ("uid-job", 1767225600.0, 5, 4)
    assert (job.queue_name, job.priority_class, job.priority) == ("red", "high", 1000)
    assert (job.suspended, job.preemptible, job.held, job.completed, job.retried) == (True, False, True, True, "again")
    assert (job.steps, job.listed) == ((2, 4, 8), True)
    assert (job.resource, job.per_replica, job.requests) == (GPU, 1, {GPU: 1, "pods": 1})
    assert job.flavors == (FlavorChoice("h100", 0.5), FlavorChoice("a100", None))
    assert job.nodes.requirements == (Requirement("memory", "Gt", ("40",)),)
    assert (job.curve, job.declared, job.target) == (Usl(2.0, 0.1, 0.01), True, Target(throughput=7.0))
    assert (job.restart_seconds, job.min_runtime_seconds, job.placement_timeout_seconds) == (61.0, 62.0, 63.0)
    assert (job.failure_limit, job.complete_on_exit_zero) == (64, False)
    assert (job.block, job.namespace_labels, job.memory.phase) == (None, {"a": "b"}, "Suspended")
    assert job.template_hash
    plain = seen(asking(maxReplicas=1))
    elsewhere = {
        "key",
        "uid",
        "created",
        "pods",
        "workload",
        "warnings",
        "refusal",
        "block",
        "requests",
        "resource",
        "template_hash",
    }
    planners = {"enough", "favour", "unmeasured", "per_replica"}
    same = {one.name for one in fields(Job) if getattr(job, one.name) == getattr(plain, one.name)}
    assert same <= elsewhere | planners, "a field of which this test says nothing"


@pytest.mark.parametrize(
    ("scaling", "curve", "declared"),
    [
        ({}, PER_REPLICA_BATCH, False),
        ({"mode": "GlobalBatch"}, GLOBAL_BATCH, False),
        ({"points": [{"replicas": 2, "rate": 3}, {"replicas": 1, "rate": 2}]}, Points(((1, 2.0), (2, 3.0))), True),
        (
            {"points": [{"replicas": 1, "rate": 9, "flavor": "a"}, *({"replicas": n, "rate": n} for n in (1, 2))]},
            Points(((1, 1.0), (2, 2.0))),
            True,
        ),
    ],
    ids=["nothing said", "a fixed batch", "points", "the flavor of which most is said"],
)
def test_a_curve_is_as_declared(scaling: Any, curve: Any, declared: bool) -> None:
    job = seen(asking(scaling=scaling))
    assert (job.curve, job.declared) == (curve, declared)


@pytest.mark.parametrize(("value", "held"), [("true", True), ("yes", True), ("False", False), ("", False)])
def test_a_job_is_held_by_any_word_but_false(value: str, held: bool) -> None:
    assert seen(asking(annotations={"apportion.dev/hold": value})).held is held


@pytest.mark.parametrize(("value", "completed"), [("true", True), ("True", True), ("false", False), ("yes", False)])
def test_a_job_is_complete_by_the_one_word_for_it(value: str, completed: bool) -> None:
    """Its pods would be gone for good."""
    assert seen(asking(annotations={"apportion.dev/completed": value})).completed is completed


# --- the template counts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "accelerators", "shape"),
    [
        (((GPU, 2),), {}, (GPU, 2)),
        (((GPU, 2), (FPGA, 1)), {}, (GPU, 2)),
        (((GPU, 2), (FPGA, 1)), {"resource": FPGA}, (FPGA, 1)),
        (((FPGA, 3),), {}, (FPGA, 3)),
        ((("cpu", "1500m"),), {}, ("cpu", 2)),
        ((("cpu", "100m"),), {}, ("cpu", 1)),
        ((), {}, ("cpu", 1)),
        (((GPU, 1), ("cpu", 4)), {"resource": "cpu"}, ("cpu", 4)),
    ],
    ids=[
        "one accelerator", "one that is known beside one that is not", "the one that is named", "an unknown one alone",
        "cores are whole", "at least one", "nothing asked", "cpu, though there are accelerators",
    ],
)  # fmt: skip
def test_what_a_replica_counts_follows_from_the_template(asked: Any, accelerators: Any, shape: tuple[str, int]) -> None:
    job = seen(asking(pods(*asked), accelerators=accelerators))
    assert (job.block, job.resource, job.per_replica) == (None, *shape)


@pytest.mark.parametrize(
    ("asked", "accelerators", "message"),
    [
        (
            ((GPU, 1), ("amd.com/gpu", 1)), {},
            "spec.accelerators.resource: expected to be given: the template asks for several "
            "(amd.com/gpu, nvidia.com/gpu)",
        ),
        (
            ((GPU, 1),), {"resource": FPGA},
            f"spec.accelerators.resource: the template counts, and asks for {GPU}, not for {FPGA}",
        ),
        (
            (), {"resource": GPU},
            f"spec.accelerators.resource: the template counts, and asks for no accelerator, not for {GPU}",
        ),
        (
            ((GPU, 2),), {"perReplica": 4},
            f"spec.accelerators.perReplica: the template counts, and asks for 2 {GPU}, not 4",
        ),
    ],
)  # fmt: skip
def test_a_spec_that_contradicts_its_template_is_invalid(asked: Any, accelerators: Any, message: str) -> None:
    job = seen(asking(pods(*asked), accelerators=accelerators))
    assert (job.block, job.steps) == (Block("Invalid", message), ())


@pytest.mark.parametrize("others", [(), ((kinds.AUTOSCALER, scaler("job")),)], ids=["alone", "beside an autoscaler"])
def test_a_job_that_cannot_be_read_keeps_what_runs(others: Others) -> None:
    """Counted by its Deployment's own template; of its spec nothing holds, but what is not of the spec does."""
    said = {"apportion.dev/hold": "true", "apportion.dev/completed": "true", "apportion.dev/retry": "again"}
    raw = asking(annotations=said, minReplicas=9, maxReplicas=4)
    raw["status"] = {"observedGeneration": 1, "admission": {"flavor": "h100", "replicas": 2, "round": 3}}
    raw["metadata"] |= {"generation": 2}
    owner = [{"kind": "TrainingJob", "uid": "uid-job", "controller": True}]
    there = deployment("job", pods((GPU, 2)), ownerReferences=owner)
    job = seen(raw, (kinds.DEPLOYMENT, there), (kinds.POD, pod("job")), *others)
    assert job.block == Block("Invalid", "spec.minReplicas: minReplicas must not be above maxReplicas; found 9")
    assert (job.steps, job.resource, job.per_replica, job.requests) == ((), GPU, 2, {GPU: 2, "pods": 1})
    assert job.admission is not None
    assert (job.workload is not None, len(job.pods), job.namespace_labels) == (
        True, 1, {"kubernetes.io/metadata.name": "team"},
    )  # fmt: skip
    assert (job.held, job.completed, job.retried) == (True, True, "again")
    assert (job.generation, job.observed_generation) == (2, 1)


def pod(of: str) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": f"{of}-abc", "uid": "r", "controller": True}
    labels = {"pod-template-hash": "abc"}
    body = {"containers": [container(GPU, 2)], "nodeName": "n"}
    return {"metadata": meta(f"{of}-abc-1", labels=labels, ownerReferences=[owner]), "spec": body}


# --- what it may touch -----------------------------------------------------------------------------------------------


def unmanaged() -> dict[str, Any]:
    raw = deployment()
    del raw["metadata"]["labels"]
    return raw


OWNED = {"ownerReferences": [{"kind": "TrainingJob", "uid": "uid-another", "controller": True}]}


@pytest.mark.parametrize(
    ("raw", "others", "block"),
    [
        (naming(), (), ("WorkloadNotFound", "there is no Deployment 'theirs' in namespace 'team'")),
        (
            naming(), ((kinds.DEPLOYMENT, unmanaged()),),
            ("WorkloadNotManaged", "Deployment 'theirs' does not carry the label apportion.dev/managed: \"true\""),
        ),
        (naming(), ((kinds.DEPLOYMENT, deployment()),), None),
        (
            naming(), ((kinds.DEPLOYMENT, deployment(**OWNED)),),
            ("WorkloadConflict", "Deployment 'theirs' is owned by another TrainingJob"),
        ),
        (
            asking(), ((kinds.DEPLOYMENT, deployment("job")),),
            ("WorkloadConflict", "Deployment 'job' exists and was not created for this job"),
        ),
        (
            naming(), ((kinds.DEPLOYMENT, deployment()), (kinds.AUTOSCALER, scaler("theirs"))),
            ("WorkloadConflict", "HorizontalPodAutoscaler 'hpa' drives the replicas of Deployment 'theirs'"),
        ),
        (naming(), ((kinds.DEPLOYMENT, deployment()), (kinds.AUTOSCALER, scaler("theirs", "StatefulSet"))), None),
        (
            asking(priorityClassName="high"), (),
            ("PriorityClassNotFound", "there is no PriorityClass 'high'"),
        ),
    ],
    ids=[
        "no Deployment", "nobody's consent", "lent", "another job's", "somebody else's of its name", "an autoscaler's",
        "an autoscaler of something else", "no such class",
    ],
)  # fmt: skip
def test_a_job_that_may_not_be_decided_on_says_why(
    raw: dict[str, Any], others: Others, block: tuple[str, str] | None
) -> None:
    found = seen(raw, *others).block
    assert (found and (found.reason, found.message)) == block


@pytest.mark.parametrize(
    ("other_came", "block"),
    [
        ("2026-01-01T00:00:00Z", "Deployment 'theirs' belongs to the older TrainingJob 'a'"),
        ("2026-01-01T00:00:10Z", None),
    ],
)
def test_of_two_jobs_on_one_deployment_the_older_has_it(other_came: str, block: str | None) -> None:
    raw, other = naming(), naming()
    raw["metadata"]["creationTimestamp"] = "2026-01-01T00:00:05Z"
    other["metadata"] = meta("a", creationTimestamp=other_came)
    found = seen(raw, (kinds.JOB, other), (kinds.DEPLOYMENT, deployment())).block
    assert (found and found.message) == block


def test_pods_of_a_deployment_that_nobody_lends_are_not_its_jobs() -> None:
    assert seen(naming(), (kinds.DEPLOYMENT, unmanaged()), (kinds.POD, pod("theirs"))).pods == ()
    assert len(seen(naming(), (kinds.DEPLOYMENT, deployment()), (kinds.POD, pod("theirs"))).pods) == 1


@pytest.mark.parametrize(
    ("raw", "policy", "warned"),
    [
        (naming(), None, ["CanPreempt"]),
        (naming(), "Never", []),
        (asking(pods((GPU, 1), priorityClassName="urgent")), None, []),
    ],
    ids=["it preempts", "it does not", "a template's class the job's owner has chosen"],
)
def test_a_deployment_whose_pods_preempt_others_is_warned_of(
    raw: dict[str, Any], policy: str | None, warned: list[str]
) -> None:
    urgent = {"metadata": {"name": "urgent"}, "value": 9, **({"preemptionPolicy": policy} if policy else {})}
    lent = deployment(template=pods((GPU, 1), priorityClassName="urgent"))
    job = seen(raw, (kinds.DEPLOYMENT, lent), (kinds.PRIORITY_CLASS, urgent))
    assert [warning.reason for warning in job.warnings] == warned


def test_what_the_planner_does_not_know_of_a_template_is_warned_of() -> None:
    (warning,) = seen(asking(pods((GPU, 1), resourceClaims=[{"name": "gpu"}]))).warnings
    assert warning == Block(
        "UnmodelledConstraint", "the pod template has resource claims (DRA): pods may stay Pending for it"
    )
