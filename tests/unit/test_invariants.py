"""The checker of the fault tests is checked: a made-up history that breaks a rule is caught, a clean one is not."""

from typing import Any

import pytest

from controlplane.history import Change
from controlplane.invariants import Checker

H100, A100 = "NVIDIA-H100", "NVIDIA-A100"
FLAVOR = {H100: "nvidia-h100", A100: "nvidia-a100"}
FLAVOR_NOTE, OWNER_KIND = "apportion.dev/flavor", "TrainingJob"


class History:
    """Objects as a real API server would show them; each step is a second and a revision later."""

    def __init__(self, lag: float = 5) -> None:
        self.checker = Checker(lag)
        self.revision = 0
        self.now = 0.0
        self.step = 1.0

    def see(self, kind: str, name: str, obj: Any, listed: bool = False) -> None:
        self.revision += 1
        self.now += self.step
        self.checker.see(Change(self.revision, kind, name, obj, self.now, listed))

    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    def gone(self, kind: str, name: str) -> None:
        self.see(kind, name, None)

    def node(self, name: str, gpus: int = 8, product: str = H100, ready: bool = True) -> None:
        labels = {"nvidia.com/gpu.product": product}
        conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
        status = {"allocatable": {"nvidia.com/gpu": str(gpus)}, "conditions": conditions}
        self.see(
            "Node", name, {"metadata": {"name": name, "uid": name, "labels": labels}, "spec": {}, "status": status}
        )

    def queue(self, name: str, nominal: int, cohort: str = "", **limits: int) -> None:
        self.quota(name, "*", nominal, {"cohort": cohort} if cohort else {}, **limits)

    def quota(self, name: str, flavor: str, nominal: int, spec: Any, **limits: int) -> None:
        entry = {"name": flavor, "nominalQuota": nominal, **limits}
        self.see("Queue", name, {"metadata": {"uid": name}, "spec": {"flavors": [entry], **spec}})

    def job(self, name: str, granted: int, **more: Any) -> None:
        """reason and message as its status says them; seen: observedGeneration; the rest is laid over its spec."""
        product, generation = more.pop("product", H100), more.pop("generation", 1)
        reason, phase = more.pop("reason", "NoCapacity"), more.pop("phase", "Running" if granted else "Pending")
        degraded, message = more.pop("degraded", False), more.pop("message", "as it is")
        admits = more.pop("admits", bool(granted))
        listed, seen = more.pop("listed", False), more.pop("seen", generation)
        spec = {"minReplicas": 2, "maxReplicas": 8, "template": {"spec": pod_spec(product)}, **more}
        admitted = {"type": "Admitted", "status": "True" if admits else "False", "reason": reason}
        conditions = [admitted, {"type": "Degraded", "status": "True" if degraded else "False", "reason": "X"}]
        status = {"phase": phase, "observedGeneration": seen, "conditions": conditions, "message": message}
        if granted:
            status["admission"] = {"flavor": FLAVOR[product], "replicas": granted, "round": 1}
        meta = {"name": name, "uid": f"uid-{name}", "generation": generation}
        self.see("TrainingJob", name, {"metadata": meta, "spec": spec, "status": status}, listed)

    def deployment(self, name: str, replicas: int, **more: Any) -> None:
        product, owned = more.get("product", H100), more.get("owned", True)
        wrote = {"manager": more.get("by", "apportion"), "fieldsV1": {"f:spec": {"f:replicas": {}}}, "time": "1"}
        meta: dict[str, Any] = {"name": name, "uid": f"uid-of-{name}", "managedFields": [wrote]}
        meta["annotations"] = {FLAVOR_NOTE: FLAVOR[product]}
        if owned:
            meta["ownerReferences"] = [
                {"kind": OWNER_KIND, "name": name, "uid": more.get("owner", f"uid-{name}"), "controller": True}
            ]
        template = {"metadata": {"annotations": {FLAVOR_NOTE: FLAVOR[product]}}, "spec": pod_spec(product)}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"job": name}}, "template": template}
        self.see("Deployment", name, {"metadata": meta, "spec": spec})

    def pods(self, job: str, count: int, node: str = "n0", **more: Any) -> None:
        for index in range(count):
            meta: dict[str, Any] = {"name": f"{job}-{index}", "uid": f"uid-{job}-{index}", "labels": {"job": job}}
            if more.get("leaving"):
                meta["deletionTimestamp"] = "now"
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            spec = {**pod_spec(more.get("product", H100)), "nodeName": node}
            self.see("Pod", meta["name"], {"metadata": meta, "spec": spec, "status": status})

    def starts(self, name: str, replicas: int, **more: Any) -> None:
        """Granted and sized; its pods come later."""
        product = more.get("product", H100)
        self.job(name, replicas, **more)
        self.deployment(name, replicas, product=product)

    def runs(self, name: str, replicas: int, **more: Any) -> None:
        """A job that is granted, sized and has its pods, as it should be."""
        self.starts(name, replicas, **more)
        self.pods(name, replicas)

    def broken(self) -> str:
        return "\n".join(violation.what for violation in self.checker.violations)

    def at_rest(self) -> str:
        return "\n".join(self.checker.at_rest())


def pod_spec(product: str = H100, gpus: int = 1) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)}
    return {"containers": [{"resources": {"limits": limits}}], "nodeSelector": {"nvidia.com/gpu.product": product}}


@pytest.fixture
def history() -> History:
    """One node of 8."""
    history = History()
    history.node("n0")
    return history


def test_life_without_a_fault_breaks_nothing(history: History) -> None:
    history.queue("default", 8)
    history.job("a", 0, reason="NoCapacity")
    history.runs("a", 4)
    history.job("a", 2, reason="Admitted")
    history.deployment("a", 2)
    history.gone("Pod", "a-3")
    history.gone("Pod", "a-2")
    history.runs("b", 6)
    history.job("b", 0, suspend=True, generation=2, reason="Suspended", phase="Suspended")
    history.deployment("b", 0)
    for index in range(6):
        history.gone("Pod", f"b-{index}")
    assert history.broken() == ""
    assert history.at_rest() == ""


# --- at every instant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        (1, "granted 1, below the gang of 2"),
        (9, "granted 9, which is none of its steps"),
        (3, "none of its steps [2, 4]"),
    ],
)
def test_grant_that_is_no_step_of_the_job(history: History, granted: int, says: str) -> None:
    history.node("n1")
    history.job("a", granted, **({"replicaSteps": [2, 4]} if granted == 3 else {}))
    assert says in history.broken()


def test_grant_is_held_against_the_spec_that_its_status_knew(history: History) -> None:
    history.job("a", 0)
    history.job("a", 0, maxReplicas=2, generation=2, seen=1)
    history.job("a", 8, maxReplicas=2, generation=2, seen=1)
    assert history.broken() == ""
    history.job("a", 7, maxReplicas=2, generation=2, seen=2)
    assert "granted 7, which is none of its steps [2]" in history.broken()


def test_more_granted_than_exists(history: History) -> None:
    history.runs("a", 4)
    history.starts("b", 5)
    assert "9 nvidia-h100 are granted, 8 exist" in history.broken()


def test_grants_of_one_round_are_judged_when_all_are_written(history: History) -> None:
    """Two jobs that change places pass through a moment in which both are on one flavor."""
    history.node("n1", product=A100)
    history.starts("a", 8)
    history.starts("b", 8, product=A100)
    history.job("a", 8, product=A100)
    history.job("b", 8)
    history.deployment("a", 8, product=A100)
    history.deployment("b", 8)
    assert history.broken() == ""
    history.starts("c", 2)
    assert "10 nvidia-h100 are granted, 8 exist" in history.broken()


def test_room_that_went_a_moment_ago_may_still_be_granted_but_not_later(history: History) -> None:
    history.node("n1")
    history.gone("Node", "n1")
    history.starts("a", 8)
    history.starts("b", 4)
    assert history.broken() == ""
    history.pass_time(10)
    history.starts("c", 2)
    assert "14 nvidia-h100 are granted, 8 exist" in history.broken()


def test_pods_keep_their_room_on_a_node_that_takes_no_others(history: History) -> None:
    history.node("n1")
    history.starts("a", 4)
    history.pods("a", 4, node="n1")
    history.node("n1", ready=False)
    history.pass_time(10)
    history.starts("b", 8)
    assert history.broken() == "", "4 retained and 8 placeable"
    history.starts("c", 2)
    assert "14 nvidia-h100 are granted, 12 exist" in history.broken()


def test_losing_nodes_alone_breaks_nothing_and_growing_then_does(history: History) -> None:
    history.node("n1")
    history.starts("a", 8)
    history.starts("b", 4)
    history.gone("Node", "n1")
    history.pass_time(10)
    history.starts("a", 7)
    assert history.broken() == ""
    history.starts("b", 5)
    assert "12 nvidia-h100 are granted, 8 exist" in history.broken()


def test_queue_beyond_its_quota(history: History) -> None:
    history.queue("default", 4)
    history.pass_time(10)
    history.starts("a", 5)
    assert "queue default uses 5 of 4 + 0 nvidia-h100" in history.broken()


def test_borrowing_beyond_its_limit_and_beyond_what_the_cohort_has(history: History) -> None:
    history.node("n1", 32)
    history.queue("default", 4, "all", borrowingLimit=2)
    history.queue("rich", 8, "all", lendingLimit=3)
    history.pass_time(10)
    history.starts("a", 6)
    history.starts("b", 6, queueName="rich")
    assert history.broken() == ""
    history.starts("a", 7)
    assert "queue default uses 7 of 4 + 2" in history.broken()
    history.checker.violations.clear()
    history.queue("default", 4, "all")
    history.starts("b", 5, queueName="rich")
    history.pass_time(10)
    history.starts("a", 8)
    assert "cohort all uses 13 of 12" in history.broken()


def test_what_a_queue_does_not_lend_is_not_borrowed(history: History) -> None:
    history.queue("default", 2, "all")
    history.queue("rich", 4, "all", lendingLimit=1)
    history.pass_time(10)
    history.starts("a", 3)
    assert history.broken() == ""
    history.starts("a", 4)
    assert "cohort all uses 7 of 6" in history.broken()


def test_job_that_may_not_borrow_stays_within_the_nominal_quota(history: History) -> None:
    history.queue("default", 2, "all")
    history.queue("rich", 4, "all")
    history.pass_time(10)
    history.starts("a", 3, preemptible=False)
    assert "jobs that may not borrow hold 3 of 2" in history.broken()


def test_quota_that_was_cut_a_moment_ago(history: History) -> None:
    history.queue("default", 8)
    history.pass_time(10)
    history.queue("default", 4)
    history.starts("a", 6)
    assert history.broken() == ""
    history.pass_time(10)
    history.starts("b", 2)
    assert "queue default uses 8 of 4" in history.broken()


def test_flavor_that_the_queue_does_not_list_and_queue_that_is_not_there(history: History) -> None:
    history.quota("default", "nvidia-a100", 8, {})
    history.pass_time(10)
    history.starts("a", 2)
    assert "queue default has no quota of nvidia-h100" in history.broken()
    history.starts("b", 2, queueName="none")
    assert "there is no queue none" in history.broken()


def test_loss_without_a_word(history: History) -> None:
    history.job("a", 4)
    history.job("a", 2, message="")
    assert "lost 2 replicas, and its status does not say why" in history.broken()


def test_nothing_granted_to_a_job_that_counts_as_admitted(history: History) -> None:
    history.job("a", 8)
    history.job("a", 0, suspend=True, admits=True)
    assert "has nothing, and its status does not say that it is not admitted" in history.broken()


def test_everything_lost_where_there_is_room(history: History) -> None:
    history.runs("a", 4)
    history.job("a", 0, reason="NoCapacity")
    assert "lost all its replicas (NoCapacity), though 8 nvidia-h100 are free and it needs 2" in history.broken()


@pytest.mark.parametrize(
    "why",
    [{"suspend": True}, {"phase": "Succeeded"}, {"degraded": True}, {"reason": "Preempted"}],
    ids=["suspended", "finished", "degraded", "taken"],
)
def test_everything_lost_for_a_reason(history: History, why: dict[str, Any]) -> None:
    history.runs("a", 4)
    history.job("a", 0, **why)
    assert history.broken() == ""


def test_everything_lost_with_its_node_or_its_quota(history: History) -> None:
    history.queue("default", 8)
    history.runs("a", 4)
    history.queue("default", 1)
    history.job("a", 0, reason="QuotaExceeded")
    history.queue("default", 8)
    history.gone("Node", "n0")
    for index in range(4):
        history.gone("Pod", f"a-{index}")
    history.job("b", 4)
    history.job("b", 0)
    assert history.broken() == ""


def test_deployment_sized_otherwise_than_granted(history: History) -> None:
    history.runs("a", 4)
    history.deployment("a", 6)
    assert "Deployment a: sized to 6, while its job is granted 4 on nvidia-h100" in history.broken()


def test_deployment_taken_to_zero_while_its_job_should_run(history: History) -> None:
    history.runs("a", 4)
    history.deployment("a", 0)
    assert "Deployment a: sized to 0, while its job is granted 4" in history.broken()


def test_deployment_raised_without_any_grant(history: History) -> None:
    history.job("a", 0)
    history.deployment("a", 2)
    assert "sized to 2, while its job is granted 0 on nothing" in history.broken()


@pytest.mark.parametrize("owned", [True, False])
def test_deployment_goes_through_zero_to_another_flavor_only(history: History, owned: bool) -> None:
    history.node("n1", product=A100)
    spec = {} if owned else {"template": None, "workloadRef": {"name": "a"}}
    history.job("a", 4, **spec)
    history.deployment("a", 4, owned=owned)
    history.job("a", 4, product=A100, **spec)
    history.deployment("a", 0, owned=owned)
    assert history.broken() == ""
    history.deployment("a", 4, owned=owned, product=A100)
    assert history.broken() == ""
    history.deployment("a", 0, owned=owned, product=A100)
    assert "sized to 0, while its job is granted 4 on nvidia-a100" in history.broken()


def test_move_to_a_flavor_that_has_no_room(history: History) -> None:
    history.node("n1", 2, product=A100)
    history.starts("a", 4)
    history.starts("a", 4, product=A100)
    assert "4 nvidia-a100 are granted, 2 exist" in history.broken()


def test_deployment_of_an_older_job_of_the_same_name_is_not_judged_by_the_new_one(history: History) -> None:
    history.job("a", 4)
    history.deployment("a", 2, owner="uid-of-an-older-a")
    assert history.broken() == ""


def test_what_others_do_to_a_deployment_is_not_the_operators_fault(history: History) -> None:
    history.runs("a", 4)
    history.deployment("a", 0, by="kubectl")
    assert history.broken() == ""


def test_state_that_a_list_shows_is_not_judged_as_a_step(history: History) -> None:
    history.job("a", 4)
    history.job("a", 2, message="", listed=True)
    assert history.broken() == ""


def test_violation_tells_what_led_there(history: History) -> None:
    history.starts("a", 4)
    history.starts("b", 5)
    (found,) = history.checker.violations
    assert len(found.after) == 5
    assert "Deployment b" in found.after[-1]
    assert "Node n0 takes pods" in found.after[0]


# --- at rest ---------------------------------------------------------------------------------------------------------


def test_deployment_or_pods_that_are_not_what_was_granted(history: History) -> None:
    history.job("a", 4)
    assert "TrainingJob a: granted 4, its Deployment has 0" in history.at_rest()
    history.deployment("a", 4)
    history.pods("a", 3)
    assert "TrainingJob a: granted 4, 3 pods are ready" in history.at_rest()
    history.pods("a", 4)
    assert history.at_rest() == ""
    history.pods("a", 1, leaving=True)
    assert "3 pods are ready" in history.at_rest()


def test_status_of_an_older_spec(history: History) -> None:
    history.runs("a", 4)
    history.job("a", 4, generation=2, seen=1)
    assert "its status is of an older spec" in history.at_rest()


def test_more_granted_than_exists_or_than_the_quota_at_rest(history: History) -> None:
    history.queue("default", 8)
    history.runs("a", 4)
    history.queue("default", 2)
    assert "queue default uses 4 of 2" in history.at_rest()
    history.job("a", 4, minReplicas=4)
    assert history.at_rest() == "", "a minimum outlasts a quota"
    history.gone("Node", "n0")
    for index in range(4):
        history.gone("Pod", f"a-{index}")
    assert "4 nvidia-h100 are granted, 0 exist" in history.at_rest()


def test_queue_within_its_own_quota_is_not_to_blame_for_a_cohort_beyond(history: History) -> None:
    history.queue("default", 4, "all")
    history.queue("rich", 2, "all")
    history.runs("a", 4)
    history.runs("b", 4, queueName="rich", minReplicas=4)
    assert history.at_rest() == "", "b keeps its minimum, a what is its queue's own"
    history.job("b", 4, queueName="rich")
    assert "cohort all uses 8 of 6" in history.at_rest()


def test_deployment_that_outlives_its_job(history: History) -> None:
    history.runs("a", 2)
    history.gone("TrainingJob", "a")
    assert "Deployment a: its job is gone" in history.at_rest()
    history.job("a", 2)
    history.deployment("a", 2, owner="uid-of-an-older-a")
    assert "Deployment a: its job is gone" in history.at_rest()


def test_job_that_waits_beside_room_for_it(history: History) -> None:
    history.runs("a", 4)
    history.job("b", 0, minReplicas=4)
    assert "TrainingJob b: waits, though 4 pods of 1 nvidia-h100 would fit" in history.at_rest()
    history.job("b", 0, minReplicas=5)
    assert history.at_rest() == ""
    history.queue("default", 6)
    history.job("b", 0, minReplicas=4)
    assert history.at_rest() == "", "the quota is used up"
    history.queue("default", 8)
    history.job("b", 0, minReplicas=4, suspend=True)
    assert history.at_rest() == ""


@pytest.mark.parametrize("broken", [False, True])
def test_what_the_newest_round_saw_is_kept_or_the_first_that_broke_a_rule(broken: bool) -> None:
    """Of a round with two grants it is how things were before the first one."""
    history = History(lag=5)
    history.node("n")
    for name in ("a", "b"):
        history.job(name, 0)
    step, history.step = history.step, 0.01
    history.job("a", 1 if broken else 2)
    history.job("b", 2)
    history.step = step
    assert bool(history.checker.violations) == broken
    assert kept(history) == [0, 0]

    history.job("a", 4)
    assert kept(history) == ([0, 0] if broken else [2, 2])
    assert {obj["kind"] for obj in history.checker.before_round} == {"Node", "TrainingJob"}
    assert {obj["apiVersion"] for obj in history.checker.before_round} == {"v1", "apportion.dev/v1alpha1"}


def kept(history: History) -> list[int]:
    jobs = [obj for obj in history.checker.before_round if obj["kind"] == "TrainingJob"]
    return [job["status"].get("admission", {}).get("replicas", 0) for job in jobs]
