"""A decision on its way into requests: in which order, for whom, and what becomes of one that fails."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.actuator import LOWEST_COST, Actuator, Done
from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.cluster import Cluster
from apportion.model.policy import Mode, Policy
from apportion.planner import decide
from apportion.sandbox import gpu_node
from unit.test_kube_actuator import DECISION, FLAVOR, NAMED, NOW, TEMPLATE
from unit.test_kube_actuator import job as job_named_job

OTHER = "nvidia-y"


class Server(Api):
    """Keeps what is sent, in order, and answers each write by the object's path, unless it is told to fail."""

    def __init__(self, fails: Callable[[str], Exception | None] = lambda place: None) -> None:
        super().__init__(None)
        self.sent: dict[str, Any] = {}
        self.fails = fails

    async def request(self, method: str, path: str, query: Any = None, body: Any = None, patch: str = "") -> Any:
        place = path.rpartition("/namespaces/team/")[2]
        self.sent[place] = body
        if (error := self.fails(place)) is not None:
            raise error
        return {"place": place}


def cluster_of(*nodes: tuple[str, str]) -> Cluster:
    """Nodes of 8, by name and product."""
    cluster = Cluster()
    for name, product in nodes:
        node = gpu_node(name, product, 8)
        node["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        cluster.apply(kinds.NODE, node)
    return cluster


ONE_NODE = (("n0", "NVIDIA-X"),)
TWO_FLAVORS = (*ONE_NODE, ("n1", "NVIDIA-Y"))


def job(name: str, granted: int, **spec: Any) -> dict[str, Any]:
    raw = job_named_job(granted, 2, **{"workloadRef": {"name": name}, **spec})
    return {**raw, "metadata": {**raw["metadata"], "name": name, "uid": f"uid-{name}"}}


def owned(name: str, granted: int, **spec: Any) -> dict[str, Any]:
    raw = job(name, granted, template=TEMPLATE, **spec)
    del raw["spec"]["workloadRef"]
    return raw


def apply(
    cluster: Cluster,
    raw: dict[str, Any],
    size: int,
    pods: int | None = None,
    costs: tuple[int, ...] = (),
    decision: str = "2",
) -> None:
    """A job with its Deployment of this size, which this round wrote, and with as many pods, or so many."""
    name = raw["metadata"]["name"]
    cluster.apply(kinds.JOB, raw)
    meta = referenced(name, {"apportion.dev/decision": decision, "apportion.dev/replicas": str(size)})
    if "template" in raw["spec"]:
        facts = cluster.entries[kinds.JOB.name]["team", name].value
        meta["annotations"]["apportion.dev/template"] = facts.template.hash
        meta["ownerReferences"] = [{"kind": "TrainingJob", "name": name, "uid": f"uid-{name}", "controller": True}]
    cluster.apply(kinds.DEPLOYMENT, {"metadata": meta, "spec": {"replicas": size, "template": TEMPLATE}})
    for index in range(size if pods is None else pods):
        cost = {"controller.kubernetes.io/pod-deletion-cost": str(costs[index])} if index < len(costs) else {}
        cluster.apply(kinds.POD, pod(name, index, cost))


def referenced(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    """metadata of a Deployment that round 2 has written, unless they say otherwise, and that its editor lends."""
    notes = {"apportion.dev/decision": "2", **annotations}
    labels = {"apportion.dev/managed": "true"}
    return {"name": name, "namespace": "team", "uid": f"uid-d-{name}", "labels": labels, "annotations": notes}


def pod(name: str, index: int, annotations: dict[str, str]) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": f"{name}-abc", "uid": "r", "controller": True}
    meta = {"name": f"{name}-abc-{index}", "namespace": "team", "uid": f"p{name}{index}", "ownerReferences": [owner]}
    meta |= {"labels": {"pod-template-hash": "abc"}, "annotations": annotations}
    return {"metadata": meta, "spec": {**TEMPLATE["spec"], "nodeName": "n0"}, "status": {"phase": "Running"}}


@dataclass
class Round:
    """A decision on the cluster as it is, carried out when the test says so."""

    cluster: Cluster
    server: Server = field(default_factory=Server)
    leads: Callable[[], bool] = lambda: True
    mode: Mode = Mode.ENFORCE
    heard: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.snapshot = self.cluster.snapshot(NOW)
        self.decision = decide(self.snapshot, Policy(mode=self.mode))

    async def carried_out(self) -> dict[str, Done]:
        """By job."""

        def hear(kind: kinds.Kind, reply: Any) -> None:
            self.heard.append((kind.name, reply["place"]))

        done = await Actuator(self.server, self.cluster, self.leads, hear).carry_out(self.snapshot, self.decision)
        return {one.outcome.key.name: one for one in done}


def three_jobs() -> Cluster:
    """Of 8, a grows by 2, which are free, b gives 1 back and c stays."""
    cluster = cluster_of(*ONE_NODE)
    apply(cluster, job("a", 2, maxReplicas=4), 2)
    apply(cluster, job("b", 3, maxReplicas=2), 3)
    apply(cluster, job("c", 1, maxReplicas=1), 1)
    return cluster


async def test_who_gives_room_is_written_before_who_takes_it_and_what_is_only_told_last() -> None:
    round_ = Round(three_jobs())
    await round_.carried_out()
    places = [place for place in round_.server.sent if not place.startswith("pods/")]
    assert places == [
        "trainingjobs/b/status", "deployments/b", "trainingjobs/a/status", "deployments/a", "trainingjobs/c/status",
    ]  # fmt: skip
    assert [place for _, place in round_.heard] == places, "each reply is heard"


async def test_who_moves_to_another_flavor_gives_room_whatever_its_size() -> None:
    cluster = cluster_of(*TWO_FLAVORS)
    apply(cluster, job("a", 2, maxReplicas=4), 2)
    there = {"flavors": [{"name": OTHER}]}
    apply(cluster, job("b", 2, minReplicas=3, maxReplicas=3, accelerators=there), 2)
    round_ = Round(cluster)
    await round_.carried_out()
    assert [place for place in round_.server.sent if place.startswith("deployments/")] == [
        "deployments/b",
        "deployments/a",
    ]


async def test_a_deployment_is_not_written_before_its_status_is() -> None:
    """The grant must be known to the next leader, whatever happens to this one."""
    gone = Unreachable("PATCH: gone")
    round_ = Round(three_jobs(), Server(lambda place: gone if place == "trainingjobs/b/status" else None))
    done = await round_.carried_out()
    assert "deployments/b" not in round_.server.sent
    assert (done["b"].lost, done["b"].wrote_workload) == ("PATCH: gone", False)
    assert done["a"].wrote_workload, "one that fails harms no other"


async def test_who_does_not_lead_any_more_writes_nothing() -> None:
    round_ = Round(three_jobs(), leads=lambda: False)
    done = await round_.carried_out()
    assert round_.server.sent == {}
    assert {one.lost for one in done.values()} == {"not written: gone, or led by another"}


async def test_whose_lease_ends_between_status_and_deployment_does_not_write_the_deployment() -> None:
    server = Server()
    round_ = Round(three_jobs(), server, leads=lambda: not server.sent)
    await round_.carried_out()
    assert list(server.sent) == ["trainingjobs/b/status"]


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"metadata": {"uid": "another"}},
        {"spec": {"minReplicas": 9, "maxReplicas": 8}},
    ],
    ids=["deleted and made again", "not readable any more"],
)
async def test_nothing_is_written_to_the_deployment_of_a_job_that_is_another_by_now(meanwhile: dict[str, Any]) -> None:
    cluster = three_jobs()
    round_ = Round(cluster)
    newer = job("a", 2, generation=3, maxReplicas=4)
    cluster.apply(kinds.JOB, {**newer, **{part: {**newer[part], **meanwhile[part]} for part in meanwhile}})
    await round_.carried_out()
    assert "deployments/b" in round_.server.sent
    assert "deployments/a" not in round_.server.sent


@pytest.mark.parametrize(("mode", "written"), [(Mode.ENFORCE, True), (Mode.FREEZE, True), (Mode.OBSERVE, False)])
async def test_a_size_that_somebody_changed_is_put_back_but_where_the_operator_only_observes(
    mode: Mode, written: bool
) -> None:
    cluster = cluster_of(*ONE_NODE)
    apply(cluster, job("a", 2, maxReplicas=2), 3)
    round_ = Round(cluster, mode=mode)
    await round_.carried_out()
    assert ("deployments/a" in round_.server.sent) == written
    assert "trainingjobs/a/status" in round_.server.sent


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (Refused(400, "BadRequest", "a webhook says no"), True),
        (Refused(403, "Forbidden", "exceeded quota"), True),
        (Refused(413, "RequestEntityTooLarge", "limit is 3145728"), True),
        (Refused(422, "Invalid", 'Deployment.apps "a" is invalid: spec.replicas'), True),
        (Refused(422, "Invalid", "the server rejected our request due to an error in our request"), False),
        (Refused(404, "NotFound", "deployments.apps not found"), False),
        (Refused(409, "Conflict", "the object has been modified"), False),
        (Refused(500, "InternalError", "etcd"), False),
        (Unreachable("PATCH: gone"), False),
    ],
)
async def test_what_would_be_refused_again_is_told_from_what_is_only_lost(error: Exception, is_final: bool) -> None:
    """A failed precondition of a patch is a 422 that names no object."""
    done = await Round(three_jobs(), Server(lambda place: error if place == "deployments/a" else None)).carried_out()
    assert (done["a"].refused, done["a"].lost) == ((str(error), "") if is_final else ("", str(error)))
    assert not done["a"].wrote_workload


# --- who goes first of a Deployment's pods ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "written"),
    [
        ((), ["-1", "-1"]),
        ((5, 5, 7, 7), ["-1", "-1"]),
        ((-9, 0, 3, 0), ["-1"]),
        ((-3, -3, -3, -3), ["-4", "-4"]),
        ((LOWEST_COST,) * 4, []),
    ],
    ids=["nobody has a cost", "all are dear", "one is cheap already", "all are cheap", "none can be cheaper"],
)
async def test_the_pods_that_are_to_go_cost_less_than_those_that_stay(
    costs: tuple[int, ...], written: list[str]
) -> None:
    cluster = cluster_of(*ONE_NODE)
    apply(cluster, job("b", 4, maxReplicas=2), 4, costs=costs)
    round_ = Round(cluster)
    (resize,) = round_.decision.resizes
    await round_.carried_out()
    marks = {place: body for place, body in round_.server.sent.items() if place.startswith("pods/")}
    key = "controller.kubernetes.io/pod-deletion-cost"
    assert [body["metadata"]["annotations"][key] for body in marks.values()] == written
    assert {place.removeprefix("pods/") for place in marks} <= set(resize.leaving)
    assert list(round_.server.sent)[-1] == "deployments/b", "before the Deployment shrinks"


# --- another flavor --------------------------------------------------------------------------------------------------


def patched(body: Any) -> dict[str, Any]:
    return {entry["path"]: entry["value"] for entry in body if entry["op"] != "test"}


def moved(raw: dict[str, Any], size: int, pods: int) -> Cluster:
    """Granted on another flavor in round 2; the Deployment is as round 1 left it."""
    cluster = cluster_of(*TWO_FLAVORS)
    raw["status"]["admission"]["flavor"] = OTHER
    apply(cluster, raw, size, pods, decision="1")
    return cluster


async def test_a_referenced_deployment_goes_to_0_before_its_template_names_another_flavor() -> None:
    there = {"accelerators": {"flavors": [{"name": OTHER}]}, "maxReplicas": 2}
    first = Round(moved(job("a", 2, **there), 2, 2))
    await first.carried_out()
    patch = patched(first.server.sent["deployments/a"])
    assert (patch["/spec/replicas"], patch[DECISION]) == (0, "2"), "which keeps an older leader's patch out"
    assert not [path for path in patch if "template" in path]

    waits = Round(moved(job("a", 2, **there), 0, 1))
    await waits.carried_out()
    assert "deployments/a" not in waits.server.sent, "its last pod is still there"

    last = Round(moved(job("a", 2, **there), 0, 0))
    await last.carried_out()
    patch = patched(last.server.sent["deployments/a"])
    assert patch["/spec/template/metadata/annotations/apportion.dev~1flavor"] == OTHER
    assert patch["/spec/replicas"] == 2


async def test_what_an_earlier_grant_pinned_in_a_referenced_deployment_is_taken_off() -> None:
    cluster = moved(job("a", 2, accelerators={"flavors": [{"name": OTHER}]}, maxReplicas=2), 0, 0)
    selector = {"nvidia.com/gpu.product": "NVIDIA-X", "pool": "x"}
    pins = json.dumps({"nodeSelector": selector, "tolerations": []})
    theirs = {"replicas": 0, "template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": selector}}}
    cluster.apply(kinds.DEPLOYMENT, {"metadata": referenced("a", {"apportion.dev/pins": pins}), "spec": theirs})
    round_ = Round(cluster)
    await round_.carried_out()
    pinned = patched(round_.server.sent["deployments/a"])["/spec/template/spec/nodeSelector"]
    assert pinned == {"nvidia.com/gpu.product": "NVIDIA-Y"}


@pytest.mark.parametrize(("granted", "size"), [(2, 2), (3, 0)])
async def test_an_owned_deployment_moves_by_one_patch_unless_it_grows(granted: int, size: int) -> None:
    """Of both changes its controller takes the count first: new pods would start where the old ones are."""
    there = {"accelerators": {"flavors": [{"name": OTHER}]}, "minReplicas": granted, "maxReplicas": granted}
    round_ = Round(moved(owned("a", granted, **there), 2, 2))
    await round_.carried_out()
    patch = patched(round_.server.sent["deployments/a"])
    assert patch["/spec/replicas"] == size
    assert ("/spec/template" in patch) == (granted == 2)
    if granted == 2:
        assert patch["/spec/template"]["metadata"]["annotations"][NAMED] == OTHER


@pytest.mark.parametrize("there", [True, False])
async def test_pods_get_the_priority_class_for_training_where_it_is_installed(there: bool) -> None:
    """A template that names a class that is not there would be refused."""
    cluster = cluster_of(*ONE_NODE)
    cluster.apply(kinds.JOB, owned("a", 0))
    if there:
        cluster.apply(kinds.PRIORITY_CLASS, {"metadata": {"name": "apportion-training"}, "value": -10})
    round_ = Round(cluster)
    await round_.carried_out()
    made = round_.server.sent["deployments"]["spec"]["template"]
    assert made["metadata"]["annotations"][NAMED] == FLAVOR
    assert made["spec"].get("priorityClassName") == ("apportion-training" if there else None)
