"""Deployments and patches as plain data: what a Deployment is after them, and whose patch does not apply any more."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.kube.facts import DeploymentFacts, deployment_facts, without_pins
from apportion.kube.render import needs_repin, owned_deployment, repin_owned, repin_referenced, resize
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.selection import NodeChoice, Requirement, Toleration
from apportion.sandbox.errors import StatusError
from apportion.sandbox.patches import json_patch
from builders import GPU, job, running

H100 = Flavor("h100", GPU, (("gpu.product", "H100"),), (Toleration(GPU, "Exists"),))
A100 = Flavor("a100", GPU, (("gpu.product", "A100"),))
BIG_MEMORY = (Requirement("memory", "Gt", ("79",)),)
TEMPLATE = {
    "metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}},
    "spec": {"containers": [{"name": "main"}], "nodeSelector": {"zone": "a"}, "tolerations": [{"key": "spot"}]},
}


def granted(flavor: str = "h100", replicas: int = 2, round_: int = 7, **fields: Any) -> Job:
    base = running(job("one", 1, 4, template_hash="t1", **fields), {"n": replicas}, flavor)
    assert base.admission is not None
    return replace(base, memory=replace(base.memory, admission=replace(base.admission, round=round_)))


def made(one: Job, flavor: Flavor = H100, priority_class: str | None = "apportion-training") -> dict[str, Any]:
    """As the API server has it: with a uid."""
    found = owned_deployment(TEMPLATE, one, flavor, priority_class)
    return {**found, "metadata": {**found["metadata"], "uid": "uid-d"}}


def referenced(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "theirs", "namespace": "team", "uid": "uid-d"}
    if annotations:
        meta["annotations"] = annotations
    pods = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main"}], **spec}}
    return {"metadata": meta, "spec": {"replicas": 0, "template": pods}}


def facts(raw: Any) -> DeploymentFacts:
    return deployment_facts(raw)


def test_an_owned_deployment_is_the_authors_template_pinned_to_the_flavor() -> None:
    found = owned_deployment(TEMPLATE, granted(), H100, "apportion-training")
    assert found["metadata"]["labels"] == {"apportion.dev/job": "one", "apportion.dev/managed": "true"}
    assert found["metadata"]["annotations"] == {
        "apportion.dev/decision": "7",
        "apportion.dev/replicas": "2",
        "apportion.dev/flavor": "h100",
        "apportion.dev/template": "t1",
    }
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("TrainingJob", "one", "uid-one")
    assert owner["controller"] is True
    assert owner["blockOwnerDeletion"] is True
    spec = found["spec"]
    assert (spec["replicas"], spec["strategy"]) == (2, {"type": "Recreate"})
    assert spec["selector"] == {"matchLabels": {"apportion.dev/job": "one"}}
    assert spec["template"]["metadata"] == {
        "labels": {"team": "x", "apportion.dev/job": "one"},
        "annotations": {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
            "note": "y",
            "apportion.dev/flavor": "h100",
        },
    }
    pod = spec["template"]["spec"]
    assert pod["nodeSelector"] == {"zone": "a", "gpu.product": "H100"}
    assert pod["tolerations"] == [{"key": "spot"}, {"key": GPU, "operator": "Exists"}]
    assert pod["priorityClassName"] == "apportion-training"
    assert pod["containers"] == [{"name": "main"}]


def test_the_authors_own_class_and_label_of_the_job_do_not_mix() -> None:
    template = {
        "metadata": {"labels": {"apportion.dev/job": "victim"}},
        "spec": {"priorityClassName": "mine"},
    }
    pod = owned_deployment(template, granted(), A100, "apportion-training")["spec"]["template"]
    assert pod["spec"]["priorityClassName"] == "mine"
    assert pod["metadata"]["labels"] == {"apportion.dev/job": "one"}
    assert "tolerations" not in pod["spec"]
    assert "priorityClassName" not in owned_deployment({"spec": {}}, granted(), A100, None)["spec"]["template"]["spec"]


def test_a_template_that_says_nothing_of_nodes_gets_what_the_flavor_needs() -> None:
    pod = owned_deployment({"spec": {}}, granted(), H100, None)["spec"]["template"]["spec"]
    assert pod == {
        "nodeSelector": {"gpu.product": "H100"},
        "tolerations": [{"key": GPU, "operator": "Exists"}],
    }
    assert owned_deployment({"spec": {}}, granted(), Flavor("any", GPU), None)["spec"]["template"]["spec"] == {}


def test_annotations_of_a_referenced_template_stay() -> None:
    before = referenced()
    before["spec"]["template"]["metadata"]["annotations"] = {"scrape": "yes"}
    after = json_patch(before, repin_referenced(facts(before), before["spec"]["template"]["spec"], granted(), A100))
    noted = {"scrape": "yes", "apportion.dev/flavor": "a100"}
    assert after["spec"]["template"]["metadata"]["annotations"] == noted


@pytest.mark.parametrize(
    ("theirs", "terms"),
    [
        ({}, [{"matchExpressions": [{"key": "memory", "operator": "Gt", "values": ["79"]}]}]),
        ({"nodeSelectorTerms": []}, [{"matchExpressions": [{"key": "memory", "operator": "Gt", "values": ["79"]}]}]),
        (
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]},
            [
                {
                    "matchExpressions": [
                        {"key": "a", "operator": "Exists"},
                        {"key": "memory", "operator": "Gt", "values": ["79"]},
                    ]
                },
                {"matchFields": [], "matchExpressions": [{"key": "memory", "operator": "Gt", "values": ["79"]}]},
            ],
        ),
    ],
    ids=["none of its own", "an empty list of its own", "each alternative"],
)
def test_requirements_are_added_to_every_alternative(theirs: Any, terms: Any) -> None:
    affinity = {
        "podAffinity": {"x": 1},
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": theirs, "preferred": [2]},
    }
    one = granted(nodes=NodeChoice(requirements=BIG_MEMORY))
    pod = owned_deployment({"spec": {"affinity": affinity}}, one, A100, None)["spec"]["template"]["spec"]
    assert pod["affinity"] == {
        "podAffinity": {"x": 1},
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
            "preferred": [2],
        },
    }


def test_a_resize_changes_the_count_and_what_is_said_of_it_alone() -> None:
    before = made(granted())
    after = json_patch(before, resize(facts(before), 3, {"apportion.dev/decision": "8"}))
    assert after["spec"] == {**before["spec"], "replicas": 3}
    notes = {"apportion.dev/decision": "8", "apportion.dev/replicas": "3"}
    assert after["metadata"] == {
        **before["metadata"],
        "annotations": {**before["metadata"]["annotations"], **notes},
    }


def test_a_resize_of_a_deployment_without_annotations_adds_them() -> None:
    before = referenced()
    after = json_patch(before, resize(facts(before), 3, {"apportion.dev/decision": "8"}))
    assert after["metadata"]["annotations"] == {"apportion.dev/decision": "8", "apportion.dev/replicas": "3"}


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda raw: raw["metadata"].update(uid="another"),
        lambda raw: raw["spec"].update(replicas=9),
        lambda raw: raw["metadata"]["annotations"].update({"apportion.dev/decision": "9"}),
    ],
    ids=["another object", "another size", "a newer decision"],
)
@pytest.mark.parametrize("first", [True, False], ids=["resize", "repin"])
def test_a_stale_patch_does_not_apply(meanwhile: Any, first: bool) -> None:
    known = facts(made(granted()))
    stale = resize(known, 3, {}) if first else repin_owned(known, TEMPLATE, granted("a100"), A100, None)
    now = made(granted())
    meanwhile(now)
    with pytest.raises(StatusError):
        json_patch(now, stale)


def test_annotations_that_came_meanwhile_stop_a_first_patch() -> None:
    stale = resize(facts(referenced()), 3, {})
    with pytest.raises(StatusError):
        json_patch(referenced({"somebody": "else"}), stale)


def test_another_flavor_of_an_owned_deployment_is_the_template_anew() -> None:
    before = made(granted())
    moved = granted("a100", replicas=3, round_=8)
    after = json_patch(before, repin_owned(facts(before), TEMPLATE, moved, A100, "apportion-training"))
    assert after["spec"] == made(moved, A100)["spec"]
    assert after["metadata"]["annotations"] == made(moved, A100)["metadata"]["annotations"]


def test_a_referenced_deployment_gets_its_pins_and_loses_them_with_the_next_flavor() -> None:
    author = {"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "spot"}]}
    before = referenced({"theirs": "1"}, **author)
    one = granted(nodes=NodeChoice(requirements=BIG_MEMORY))
    pinned = json_patch(before, repin_referenced(facts(before), before["spec"]["template"]["spec"], one, H100))
    pod = pinned["spec"]["template"]
    assert pod["metadata"] == {"labels": {"app": "x"}, "annotations": {"apportion.dev/flavor": "h100"}}
    assert pod["spec"]["nodeSelector"] == {"zone": "a", "gpu.product": "H100"}
    assert pod["spec"]["tolerations"] == [{"key": "spot"}, {"key": GPU, "operator": "Exists"}]
    assert "affinity" in pod["spec"]
    assert pinned["spec"]["replicas"] == 2
    assert pinned["metadata"]["annotations"]["theirs"] == "1"

    clean = without_pins(pod["spec"], facts(pinned).workload)
    assert clean == before["spec"]["template"]["spec"]
    moved = json_patch(pinned, repin_referenced(facts(pinned), clean, granted("a100", round_=8), A100))
    assert moved["spec"]["template"]["spec"] == {
        **before["spec"]["template"]["spec"],
        "nodeSelector": {"zone": "a", "gpu.product": "A100"},
    }
    assert without_pins(moved["spec"]["template"]["spec"], facts(moved).workload) == clean


def test_a_template_is_written_again_for_another_flavor_or_another_template_only() -> None:
    here = facts(made(granted()))
    assert not needs_repin(here, granted(replicas=4, round_=9))
    assert needs_repin(here, granted("a100"))
    assert needs_repin(here, replace(granted(), template_hash="t2"))
    theirs = referenced({"apportion.dev/decision": "7"})
    theirs["spec"]["template"]["metadata"]["annotations"] = {"apportion.dev/flavor": "h100"}
    assert not needs_repin(facts(theirs), replace(granted(), template_hash="t2"))


def test_autoscalers_leave_the_pods_alone_unless_the_author_says_otherwise() -> None:
    theirs = {**TEMPLATE, "metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "false"}}}
    found = owned_deployment(theirs, granted(), H100, None)["spec"]["template"]["metadata"]["annotations"]
    assert found["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert found["karpenter.sh/do-not-disrupt"] == "false"


def test_a_template_that_an_older_version_wrote_without_these_annotations_stays_as_it_is() -> None:
    """Writing them into it would restart every pod."""
    old = made(granted())
    old["spec"]["template"]["metadata"]["annotations"] = {"apportion.dev/flavor": "h100"}
    here = facts(old)
    assert not needs_repin(here, granted(replicas=4, round_=9))
    after = json_patch(old, resize(here, 4, {}))
    assert after["spec"]["template"] == old["spec"]["template"]
