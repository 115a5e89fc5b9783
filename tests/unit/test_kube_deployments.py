"""What of a Deployment counts: its size, what we wrote on it and into it, who wrote last, and why it has no pods."""

import json
from typing import Any

import pytest

from apportion.kube.facts import deployment_facts, without_pins


def raw(annotations: dict[str, str] | None = None, template: Any = None, status: Any = None, **spec: Any) -> Any:
    meta = {"name": "d", "namespace": "ns", "uid": "u", "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"template": template or {}, **spec}, "status": status or {}}


def ours(**said: str) -> dict[str, str]:
    return {f"apportion.dev/{key}": value for key, value in said.items()}


PINNED = {"metadata": {"annotations": ours(flavor="h100")}}


def test_a_deployment_that_says_no_size_has_one_replica() -> None:
    assert deployment_facts(raw()).workload.replicas == 1
    assert deployment_facts(raw(replicas=0)).workload.replicas == 0


@pytest.mark.parametrize(
    ("annotations", "decision", "flavor", "granted"),
    [
        ({}, None, None, None),
        (ours(decision="7", replicas="3"), "7", "h100", 3),
        (ours(decision="7"), "7", "h100", None),
        (ours(decision="7", replicas="many"), "7", "h100", None),
        (ours(decision="7", replicas="-1"), "7", "h100", None),
        (ours(decision="7", replicas="9" * 10), "7", "h100", None),
    ],
    ids=["never written by us", "as we write it", "no count", "no number", "negative", "absurd"],
)
def test_what_we_wrote_on_it_is_read_and_what_somebody_else_did_is_no_count(
    annotations: dict[str, str], decision: str | None, flavor: str | None, granted: int | None
) -> None:
    workload = deployment_facts(raw(annotations, PINNED)).workload
    assert (workload.decision, workload.flavor, workload.granted) == (decision, flavor, granted)


def test_a_template_whose_pin_was_taken_off_names_no_flavor() -> None:
    assert deployment_facts(raw(ours(decision="7"))).workload.flavor == ""


def test_how_it_replaces_its_pods_is_known() -> None:
    assert deployment_facts(raw(strategy={"type": "Recreate"})).workload.recreate
    assert not deployment_facts(raw()).workload.recreate


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"status": "True", "reason": "FailedCreate", "message": "exceeded quota"}, "exceeded quota"),
        ({"status": "True", "reason": "FailedCreate"}, "FailedCreate"),
        ({"status": "True"}, "pods could not be created"),
        ({"status": "False", "message": "exceeded quota"}, ""),
    ],
)
def test_why_pods_could_not_be_created_is_told_while_it_is_so(condition: dict[str, str], said: str) -> None:
    status = {"conditions": [{"type": "Available", "status": "True"}, {"type": "ReplicaFailure", **condition}]}
    assert deployment_facts(raw(status=status)).workload.refusal == said


def edit(manager: str, day: int, fields: Any, subresource: str = "") -> dict[str, Any]:
    entry = {"manager": manager, "time": f"2026-01-0{day}T00:00:00Z", "fieldsV1": fields}
    return {**entry, "subresource": subresource} if subresource else entry


@pytest.mark.parametrize(
    ("edits", "editor"),
    [
        ([], ""),
        ([edit("b", 2, {"f:spec": {"f:replicas": {}}}), edit("a", 1, {"f:spec": {"f:template": {}}})], "b"),
        ([edit("a", 1, {"f:spec": {"f:replicas": {}}}), edit("b", 2, {"f:spec": {"f:paused": {}}})], "a"),
        ([edit("a", 1, {"f:spec": {"f:replicas": {}}}), edit("b", 2, {})], "b"),
        ([edit("a", 1, {"f:spec": {"f:replicas": {}}}), edit("b", 2, {}, "status")], "a"),
        ([edit("a", 1, {"f:spec": {"f:replicas": {}}}), edit("b", 2, {"f:spec": {"f:replicas": {}}}, "scale")], "b"),
    ],
    ids=["nobody", "the latest", "who wrote neither", "who does not say what", "the status", "kubectl scale"],
)
def test_who_last_wrote_its_size_or_its_template_is_named(edits: list[Any], editor: str) -> None:
    found = raw()
    found["metadata"]["managedFields"] = edits
    assert deployment_facts(found).workload.editor == editor


SPOT = {"key": "spot", "operator": "Exists"}
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists"}


def pinned(pins: Any, owner: str = "") -> Any:
    """A pod spec with what an earlier grant added to it, as its annotation says."""
    spec = {
        "nodeSelector": {"zone": "a", "gpu": "h100"},
        "tolerations": [SPOT, GPU_TAINT],
        "affinity": {"nodeAffinity": "ours"},
    }
    found = raw(ours(pins=pins if isinstance(pins, str) else json.dumps(pins)), {"spec": spec})
    if owner:
        found["metadata"]["ownerReferences"] = [{"kind": "TrainingJob", "uid": owner, "controller": True}]
    return without_pins(spec, deployment_facts(found).workload)


def test_what_an_earlier_grant_added_is_taken_off_and_the_rest_stays() -> None:
    added = {"nodeSelector": {"gpu": "h100"}, "tolerations": [GPU_TAINT], "affinity": None}
    assert pinned(added) == {"nodeSelector": {"zone": "a"}, "tolerations": [SPOT]}
    theirs = {**added, "affinity": {"nodeAffinity": "theirs"}}
    assert pinned(theirs)["affinity"] == {"nodeAffinity": "theirs"}
    assert pinned({"nodeSelector": {}, "tolerations": [GPU_TAINT]})["affinity"] == {"nodeAffinity": "ours"}


def test_a_selector_that_its_author_changed_meanwhile_stays() -> None:
    assert pinned({"nodeSelector": {"gpu": "a100"}})["nodeSelector"] == {"zone": "a", "gpu": "h100"}


@pytest.mark.parametrize("forged", ["[", "[]", "3", '{"nodeSelector": 3, "tolerations": 4}'])
def test_a_forged_note_of_pins_takes_nothing_off(forged: str) -> None:
    assert pinned(forged)["nodeSelector"] == {"zone": "a", "gpu": "h100"}
    assert pinned(forged)["tolerations"] == [SPOT, GPU_TAINT]


def test_the_template_of_an_owned_deployment_is_written_anew_so_nothing_is_taken_off_it() -> None:
    assert pinned({"nodeSelector": {"gpu": "h100"}}, owner="job")["nodeSelector"] == {"zone": "a", "gpu": "h100"}
