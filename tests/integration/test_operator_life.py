"""A TrainingJob's life: each row of behaviour.md's first table, seen from outside."""

import pytest

from apportion.kube.client import Refused
from integration.cluster import (
    COMPLETED,
    GPU,
    HOLD,
    RETRY,
    Cluster,
    condition,
    seen_of,
)

EXIT_AFTER = "sandbox.apportion.dev/exit-after"
EXIT_CODE = "sandbox.apportion.dev/exit-code"
NEVER_READY = "sandbox.apportion.dev/never-ready"


# --- admission -------------------------------------------------------------------------------------------------------


async def test_a_job_that_fits_is_admitted_with_all_it_can_use_and_runs(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=8)
    await cluster.submit("llama", (2, 8), gpus=2)

    job = await cluster.expect("llama", phase="Running", granted=8, flavor=cluster.flavor, ready=8, deployment=8)

    assert "8 of at most 8" in job["status"]["message"]
    assert condition(job, "Admitted")["status"] == condition(job, "Running")["status"] == "True"
    await cluster.event("llama", "Admitted", "admitted with 8", cluster.flavor)


async def test_two_jobs_share_what_there_is(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("left", (1, 8))
    await cluster.expect("left", phase="Running", granted=8)

    await cluster.submit("right", (1, 8))

    await cluster.expect("right", phase="Running", granted=4, deployment=4)
    await cluster.expect("left", phase="Running", granted=4, deployment=4)


async def test_a_job_that_does_not_fit_now_waits_and_says_what_is_free_and_who_has_the_rest(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("first", (6, 6))
    await cluster.expect("first", phase="Running", granted=6)

    await cluster.submit("second", (4, 4))

    await cluster.expect("second", phase="Pending", granted=0, refused="NoCapacity", deployment=None)
    waiting = await cluster.expect(
        "second", says=(f"needs 4 {cluster.flavor}", "2 are free", f"{cluster.namespace} holds 6")
    )
    assert condition(waiting, "Admitted")["message"] == waiting["status"]["message"]
    await cluster.event("second", "NoCapacity", "2 are free")

    await cluster.delete("TrainingJob", "first")
    await cluster.expect("second", phase="Running", granted=4)


async def test_a_job_beyond_its_queues_quota_says_what_the_queue_holds(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("research", {cluster.flavor: 4})
    await cluster.submit("first", (3, 3), queueName="research")
    await cluster.expect("first", phase="Running", granted=3)

    await cluster.submit("second", (2, 2), queueName="research")
    await cluster.submit("third", (6, 6), queueName="research")

    await cluster.expect(
        "second", refused="QuotaExceeded", says=(f"needs 2 {cluster.flavor}", "research holds 3 of its 4")
    )
    await cluster.expect(
        "third", refused="QuotaExceeded", says=(f"needs 6 {cluster.flavor}", "research may use at most 4")
    )
    await cluster.patch("Queue", "research", {"spec": {"flavors": [{"name": cluster.flavor, "nominalQuota": 5}]}})
    await cluster.expect("second", phase="Running", granted=2)


async def test_a_job_that_wants_a_flavor_that_is_not_there_is_told_which_there_are(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("picky", accelerators={"flavors": [{"name": "unobtainium"}]})

    await cluster.expect("picky", phase="Pending", refused="NoCompatibleFlavor", says=("unobtainium", cluster.flavor))


async def test_a_gang_that_fits_on_no_node_says_so_and_is_looked_at_again_when_a_node_comes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("giant", (1, 1), gpus=16)
    await cluster.expect("giant", refused="GangTooLarge", says=(f"needs 16 {GPU} on one node", "has 8"))

    await cluster.nodes(1, gpus=16)

    await cluster.expect("giant", phase="Running", granted=1)


async def test_a_gang_larger_than_the_whole_cluster_says_how_much_it_has(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=8)
    await cluster.submit("wide", (3, 4), gpus=8)
    await cluster.expect("wide", refused="GangTooLarge", says=("needs 3 replicas of 8", "room for 2"))

    await cluster.nodes(1, gpus=8)

    await cluster.expect("wide", phase="Running", granted=3)


async def test_only_steps_are_granted(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=7)
    await cluster.submit("stepwise", (2, 8), replicaSteps=[2, 4, 8])

    await cluster.expect("stepwise", phase="Running", granted=4, says="the next step (8) needs 4 more")


# --- malformed -------------------------------------------------------------------------------------------------------


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
    uids = {pod["metadata"]["uid"] for pod in await cluster.pods("run")}

    await cluster.spec("run", accelerators={"resource": "amd.com/gpu"})

    await cluster.expect("run", phase="Invalid", granted=4, invalid="amd.com/gpu", deployment=4)
    await cluster.submit("other", (4, 4))
    await cluster.expect("other", phase="Running", granted=4)
    await cluster.expect("run", granted=4, deployment=4)
    assert {pod["metadata"]["uid"] for pod in await cluster.pods("run")} == uids


async def test_a_minimum_above_the_maximum_is_refused_or_invalid(cluster: Cluster) -> None:
    await cluster.nodes(1)
    try:
        await cluster.submit("upside-down", (4, 2))
    except Refused as refused:
        assert refused.code == 422  # noqa: PT017
        assert "minReplicas" in refused.message  # noqa: PT017
    else:
        await cluster.expect("upside-down", phase="Invalid", invalid="minReplicas")


# --- queues ----------------------------------------------------------------------------------------------------------


async def test_without_any_queue_there_are_no_quotas_even_for_a_job_that_names_one(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("named", (1, 4), queueName="some")
    await cluster.submit("unnamed", (1, 4))

    await cluster.expect("named", phase="Running", granted=4)
    await cluster.expect("unnamed", phase="Running", granted=4)


async def test_a_job_without_a_queue_name_stands_in_the_queue_default(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("default", {cluster.flavor: 3})
    await cluster.submit("plain", (1, 8))

    await cluster.expect("plain", phase="Running", granted=3, says="queue default holds 3 of its 3")

    async def reported() -> bool:
        status = (await cluster.get("Queue", "default")).get("status", {})
        use = {entry["name"]: entry["used"] for entry in status.get("flavors", [])}
        return status.get("admitted") == 1 and status.get("pending") == 0 and use.get(cluster.flavor) == 3

    await cluster.until(reported, "the queue's status tells what it holds")


async def test_where_only_other_queues_exist_a_queue_name_is_required(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("research", {"*": 8})
    await cluster.submit("plain", (1, 2))

    await cluster.expect("plain", phase="Pending", refused="QueueRequired", says="queueName")

    await cluster.spec("plain", queueName="research")
    await cluster.expect("plain", phase="Running", granted=2)


async def test_a_queue_that_is_missing_or_forbids_the_job_is_named_and_it_mends_itself(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("open", {"*": 8})
    await cluster.queue("closed", {"*": 8}, namespaceSelector={"matchLabels": {"team": "somebody-else"}})
    await cluster.queue("strict", {"*": 8}, allowedPriorityClasses=["noble"])
    await cluster.submit("lost", queueName="nowhere")
    await cluster.submit("stranger", queueName="closed")
    await cluster.submit("commoner", queueName="strict")

    await cluster.expect("lost", refused="QueueNotFound", says="nowhere")
    await cluster.expect("stranger", refused="QueueForbidden", says=("closed", cluster.namespace))
    await cluster.expect("commoner", refused="PriorityForbidden", says=("strict", "noble"))

    await cluster.queue("nowhere", {"*": 8})
    await cluster.patch("Queue", "closed", {"spec": {"namespaceSelector": None}})
    await cluster.patch("Queue", "strict", {"spec": {"allowedPriorityClasses": None}})
    for name in ("lost", "stranger", "commoner"):
        await cluster.expect(name, phase="Running", granted=1)


async def test_a_namespace_that_gets_the_queues_label_may_use_it(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("research", {"*": 8}, namespaceSelector={"matchLabels": {"team": "research"}})
    await cluster.submit("job", queueName="research")
    await cluster.expect("job", refused="QueueForbidden")

    await cluster.patch("Namespace", cluster.namespace, {"metadata": {"labels": {"team": "research"}}})

    await cluster.expect("job", phase="Running", granted=1)


async def test_a_running_job_whose_queue_vanishes_keeps_what_it_has_is_not_grown_and_degraded(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.queue("research", {"*": 64})
    await cluster.queue("other", {"*": 64})
    await cluster.submit("job", (1, 8), queueName="research")
    await cluster.expect("job", phase="Running", granted=4, degraded=None)

    await cluster.delete("Queue", "research")

    await cluster.expect("job", phase="Running", granted=4, degraded="QueueNotFound", deployment=4)
    await cluster.nodes(1, gpus=4)
    await cluster.calm()
    await cluster.expect("job", granted=4, deployment=4)

    await cluster.queue("research", {"*": 64})
    await cluster.expect("job", phase="Running", granted=8, degraded=None)


# --- asked for by the user -------------------------------------------------------------------------------------------


async def test_a_suspended_job_gives_its_room_to_others_in_the_same_round(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("giver", (8, 8))
    await cluster.expect("giver", phase="Running", granted=8)
    await cluster.submit("taker", (8, 8))
    await cluster.expect("taker", refused="NoCapacity", says="needs 8")

    await cluster.spec("giver", suspend=True)

    await cluster.expect("giver", phase="Suspended", granted=0, refused="Suspended", deployment=0)
    await cluster.expect("taker", phase="Running", granted=8)
    await cluster.spec("giver", suspend=False)
    await cluster.expect("giver", phase="Pending", refused="NoCapacity")


async def test_a_held_job_stays_exactly_as_it_is_until_the_annotation_goes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("held", (1, 8))
    await cluster.expect("held", phase="Running", granted=4)

    await cluster.annotate("held", HOLD, "true")
    await cluster.expect("held", says=HOLD)
    await cluster.nodes(1, gpus=4)
    await cluster.submit("other", (1, 2))
    await cluster.expect("other", phase="Running", granted=2)
    await cluster.expect("held", granted=4, deployment=4)
    await cluster.annotate("held", HOLD, None)

    await cluster.expect("held", phase="Running", granted=6, deployment=6)


async def test_a_held_job_that_never_ran_is_not_admitted(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("held", annotations={HOLD: "true"})

    await cluster.expect("held", phase="Pending", granted=0, refused="Held")


async def test_mode_observe_decides_and_explains_and_patches_nothing(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.policy(mode="Observe")
    await cluster.deploy("trainer", replicas=1)
    await cluster.reference("trainer", (2, 4))
    await cluster.submit("fresh", (1, 2))

    await cluster.expect("fresh", refused="Observed", says=("would get 2", "Enforce"), deployment=None)
    await cluster.expect("trainer", says="would get", deployment=1)

    await cluster.patch("AllocationPolicy", "default", {"spec": {"mode": "Enforce"}})
    await cluster.expect("fresh", phase="Running", granted=2)
    await cluster.expect("trainer", phase="Running", granted=4)


async def test_mode_freeze_keeps_everything_and_admits_nothing(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("old", (1, 8))
    await cluster.expect("old", phase="Running", granted=4)

    await cluster.policy(mode="Freeze")
    await cluster.submit("new", (1, 1))

    await cluster.expect("new", phase="Pending", refused="Frozen")
    await cluster.nodes(1, gpus=4)
    await cluster.calm()
    await cluster.expect("old", granted=4, deployment=4)
    await cluster.expect("new", refused="Frozen")

    await cluster.patch("AllocationPolicy", "default", {"spec": {"mode": "Enforce"}})
    await cluster.expect("new", phase="Running", granted=1)
    await cluster.expect("old", phase="Running", granted=7)


# --- deletion --------------------------------------------------------------------------------------------------------


async def test_a_deleted_jobs_own_deployment_goes_with_it(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("owner", (1, 2))
    await cluster.expect("owner", phase="Running", granted=2)
    owner = (await cluster.get("Deployment", "owner"))["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("TrainingJob", "owner", True)
    assert not (await cluster.get("TrainingJob", "owner"))["metadata"].get("finalizers")

    await cluster.delete("TrainingJob", "owner")

    async def gone() -> bool:
        return await cluster.get("Deployment", "owner") is None and not await cluster.pods("owner", leaving=True)

    await cluster.until(gone, "Deployment and pods are gone")


async def test_a_deleted_jobs_referenced_deployment_stays_as_it_is(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.deploy("guest", replicas=0)
    await cluster.reference("guest", (1, 3))
    await cluster.expect("guest", phase="Running", granted=3, deployment=3)

    await cluster.delete("TrainingJob", "guest")
    await cluster.submit("other", (1, 8))

    await cluster.expect("other", phase="Running", granted=5)
    assert (await cluster.get("Deployment", "guest"))["spec"]["replicas"] == 3
    assert len(await cluster.pods("guest")) == 3


# --- referenced workloads --------------------------------------------------------------------------------------------


async def test_a_missing_workload_is_named_and_found_when_it_comes(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.reference("later", (1, 2))
    await cluster.expect("later", phase="Pending", refused="WorkloadNotFound", says="later")

    await cluster.deploy("later", replicas=0)

    await cluster.expect("later", phase="Running", granted=2, deployment=2)


async def test_a_workload_whose_editor_did_not_agree_is_left_alone(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("private", replicas=1, managed=False)
    await cluster.reference("private", (2, 2))

    await cluster.expect("private", refused="WorkloadNotManaged", says="apportion.dev/managed", deployment=1)

    await cluster.patch("Deployment", "private", {"metadata": {"labels": {"apportion.dev/managed": "true"}}})
    await cluster.expect("private", phase="Running", granted=2, deployment=2)


async def test_of_two_jobs_on_one_deployment_the_younger_one_has_the_conflict(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("shared", replicas=0)
    await cluster.reference("alpha", (2, 2), workload="shared")
    await cluster.expect("alpha", phase="Running", granted=2, workload="shared", deployment=2)
    older = (await cluster.get("TrainingJob", "alpha"))["metadata"]["creationTimestamp"]

    async def a_second_later() -> bool:
        """Creation times have whole seconds: the next job must be younger by them."""
        await cluster.delete("TrainingJob", "aardvark")
        made = await cluster.reference("aardvark", (1, 1), workload="shared")
        return bool(made["metadata"]["creationTimestamp"] > older)

    await cluster.until(a_second_later, "a job that is younger")

    await cluster.expect("aardvark", phase="Pending", refused="WorkloadConflict", says=("shared", "alpha"))
    await cluster.expect("alpha", phase="Running", granted=2, degraded=None, workload="shared", deployment=2)
    await cluster.delete("TrainingJob", "alpha")
    await cluster.expect("aardvark", phase="Running", granted=1, workload="shared", deployment=1)


async def test_hands_off_a_deployment_that_an_autoscaler_drives(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("scaled", replicas=1)
    await cluster.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "driver", "namespace": cluster.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"},
                "minReplicas": 1,
                "maxReplicas": 5,
            },
        }
    )
    await cluster.reference("scaled", (2, 4))

    await cluster.expect("scaled", refused="WorkloadConflict", says=("driver", "scaled"), deployment=1)

    await cluster.delete("HorizontalPodAutoscaler", "driver")
    await cluster.expect("scaled", phase="Running", granted=4, deployment=4)


async def test_a_deployment_that_somebody_else_made_under_the_jobs_name_is_not_taken_over(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("mine", replicas=1)
    await cluster.submit("mine", (2, 2))

    await cluster.expect("mine", refused="WorkloadConflict", says="was not created for this job", deployment=1)


async def test_replicas_changed_by_hand_are_put_back_with_an_event_of_both_numbers(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)

    for replicas in (1, 6):
        await cluster.scale("job", replicas)

        await cluster.event("job", "ReplicasReverted", f"from 4 to {replicas}")
        await cluster.expect("job", phase="Running", granted=4, deployment=4, degraded=None)


async def test_somebody_who_reverts_again_and_again_wins_and_is_named(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("fought-over", replicas=1)
    await cluster.reference("fought-over", (4, 4))
    await cluster.expect("fought-over", phase="Running", granted=4, deployment=4)
    reverted = 0

    async def insist() -> bool:
        """What a GitOps controller does: whenever it differs from its repository, back to 1."""
        nonlocal reverted
        if (await cluster.get("Deployment", "fought-over"))["spec"]["replicas"] != 1:
            await cluster.scale("fought-over", 1, manager="argocd-controller")
            reverted += 1
        return seen_of(await cluster.get("TrainingJob", "fought-over"))["degraded"] == "FieldConflict"

    await cluster.until(insist, "the fight ends")

    assert reverted == 3
    await cluster.expect("fought-over", degraded="FieldConflict", says=("argocd-controller", "from 4 to 1"))
    await cluster.calm()
    await cluster.expect("fought-over", degraded="FieldConflict", deployment=1)


# --- what its pods do ------------------------------------------------------------------------------------------------


async def test_pods_that_stay_pending_fail_with_the_schedulers_words_and_the_grant_goes_back(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("stuck", (4, 4), pod={"schedulerName": "our-own"}, placementTimeoutSeconds=2)
    await cluster.expect("stuck", granted=4, deployment=4)
    await cluster.submit("next", (4, 4))
    await cluster.until(lambda: counted(cluster, "stuck", 4), "four pods")

    for pod in await cluster.pods("stuck"):
        said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no PCIe"}
        await cluster.patch("Pod", pod["metadata"]["name"], {"status": {"conditions": [said]}}, "status")

    job = await cluster.expect(
        "stuck", phase="Pending", granted=0, degraded="PlacementFailed", says="no PCIe", deployment=0
    )
    (resting,) = job["status"]["backoff"]
    assert (resting["flavor"], resting["failures"]) == (cluster.flavor, 1)
    await cluster.event("stuck", "PlacementFailed", "no PCIe")
    await cluster.expect("next", phase="Running", granted=4)


async def counted(cluster: Cluster, name: str, count: int) -> bool:
    return len(await cluster.pods(name)) == count


async def test_a_crash_loop_is_degraded_then_failed_and_a_retry_starts_it_again(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit(
        "crashing", (2, 4), pods={EXIT_AFTER: "0", EXIT_CODE: "7", NEVER_READY: "true"}, failureLimit=4
    )

    await cluster.expect("crashing", degraded="WorkloadFailing", says="without becoming ready (limit 4)")
    job = await cluster.expect("crashing", phase="Failed", granted=0, complete="FailureLimit", deployment=0)
    assert condition(job, "Admitted")["status"] == "False"
    await cluster.event("crashing", "FailureLimit")
    await cluster.submit("heir", (8, 8))
    await cluster.expect("heir", phase="Running", granted=8)
    await cluster.delete("TrainingJob", "heir")

    await cluster.annotate("crashing", RETRY, "1")
    await cluster.expect("crashing", phase="Starting", granted=4, complete=None, deployment=4)
    await cluster.expect("crashing", phase="Failed", granted=0, complete="FailureLimit", deployment=0)


async def test_a_failed_job_starts_again_when_its_spec_changes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    crash = {EXIT_AFTER: "0", EXIT_CODE: "1", NEVER_READY: "true"}
    await cluster.submit("mended", (2, 2), pods=crash, failureLimit=2)
    await cluster.expect("mended", phase="Failed", deployment=0)

    mended = {"metadata": {"annotations": dict.fromkeys(crash)}}
    await cluster.spec("mended", template=mended)

    await cluster.expect("mended", phase="Running", granted=2, complete=None, degraded=None)


async def test_a_job_whose_pods_all_end_with_zero_has_succeeded(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("short", (2, 2), pods={EXIT_AFTER: "1"})

    await cluster.expect("short", phase="Succeeded", granted=0, complete="ExitedZero", deployment=0)
    await cluster.event("short", "ExitedZero")
    await cluster.submit("next", (8, 8))
    await cluster.expect("next", phase="Running", granted=8)


async def test_a_service_never_completes_by_itself(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("service", (1, 1), pods={EXIT_AFTER: "0.2"}, completionPolicy="Never")
    await cluster.expect("service", granted=1)

    async def restarted() -> bool:
        pods = await cluster.pods("service")
        return any(c["restartCount"] > 2 for pod in pods for c in pod["status"].get("containerStatuses", []))

    await cluster.until(restarted, "it ended several times")

    await cluster.expect("service", granted=1, complete=None, deployment=1)


async def test_a_job_marked_complete_has_succeeded(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("marked", (2, 2))
    await cluster.expect("marked", phase="Running", granted=2)

    await cluster.annotate("marked", COMPLETED, "true")

    await cluster.expect("marked", phase="Succeeded", granted=0, complete="MarkedComplete", deployment=0)


async def test_pods_that_a_resource_quota_refuses_do_not_count_and_the_refusal_is_told(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus", "namespace": cluster.namespace},
            "spec": {"hard": {f"requests.{GPU}": "2"}},
        }
    )
    await cluster.submit("capped", (1, 6))

    job = await cluster.expect("capped", granted=2, degraded="PodsRefused", deployment=2, ready=2)
    assert "exceeded quota: gpus" in condition(job, "Degraded")["message"]


async def test_a_job_below_a_resource_quota_gives_its_gang_back(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus", "namespace": cluster.namespace},
            "spec": {"hard": {f"requests.{GPU}": "2"}},
        }
    )
    await cluster.submit("gang", (4, 4))

    await cluster.expect("gang", phase="Pending", granted=0, degraded="PodsRefused", deployment=0)


# --- hostile specs ---------------------------------------------------------------------------------------------------

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
    pods = {pod["metadata"]["uid"] for pod in await cluster.pods("victim")}
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
    assert {pod["metadata"]["uid"] for pod in await cluster.pods("victim")} == pods
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


async def test_a_job_without_accelerators_waits_for_nodes_without_accelerators(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("plain", (1, 2), gpus=0)
    await cluster.expect("plain", refused="NoCompatibleFlavor", says="cpu")

    await cluster.plain_node()

    await cluster.expect("plain", phase="Running", granted=2, flavor="cpu")
