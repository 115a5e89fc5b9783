"""PATCH as the real API server applies it, where the RFCs leave room or kubectl relies on a detail."""

import pytest

from apportion.sandbox import StatusError
from apportion.sandbox.patches import json_patch, merge_patch, strategic_merge_patch

DEPLOYMENT = {"metadata": {"uid": "u1", "annotations": {"a/b": "1"}}, "spec": {"replicas": 2, "list": [1, 2, 3]}}


def op(verb, path, value=None, **more):
    return {"op": verb, "path": path, "value": value, **more}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param([op("replace", "/spec/replicas", 5)], 5, id="replace"),
        pytest.param([op("test", "/spec/replicas", 2), op("replace", "/spec/replicas", 3)], 3, id="test that holds"),
        pytest.param([op("test", "/spec/absent"), op("replace", "/spec/replicas", 3)], 3, id="null tests for absence"),
        pytest.param([op("test", "/metadata/annotations/a~1b", "1"), op("add", "/spec/replicas", 1)], 1, id="escaped"),
        pytest.param([op("copy", "/spec/replicas", **{"from": "/spec/list/-1"})], 3, id="negative index"),
        pytest.param([op("move", "/spec/replicas", **{"from": "/spec/list/0"})], 1, id="move"),
    ],
)
def test_json_patch_applies(operations, expected):
    before = repr(DEPLOYMENT)
    assert json_patch(DEPLOYMENT, operations)["spec"]["replicas"] == expected
    assert repr(DEPLOYMENT) == before


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param([op("test", "/spec/replicas", 3)], id="test fails"),
        pytest.param([op("test", "/spec/replicas", True)], id="a number is no boolean"),
        pytest.param([op("test", "/status/replicas", None)], id="the parent is missing"),
        pytest.param([op("replace", "/absent/below", 1)], id="replace below a missing key"),
        pytest.param([op("remove", "/spec/absent")], id="remove of a missing key"),
        pytest.param([op("add", "/absent/below", 1)], id="add below a missing key"),
        pytest.param([op("add", "/spec/list/7", 1)], id="index beyond the end"),
        pytest.param([op("mend", "/spec/replicas", 1)], id="no such operation"),
    ],
)
def test_json_patch_that_does_not_apply_is_422_invalid(operations):
    with pytest.raises(StatusError) as refused:
        json_patch(DEPLOYMENT, operations)
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")


def test_json_patch_must_be_a_list():
    with pytest.raises(StatusError) as refused:
        json_patch(DEPLOYMENT, {"op": "add"})
    assert refused.value.code == 400


def test_merge_patch_merges_objects_replaces_lists_and_removes_by_null():
    patched = merge_patch(DEPLOYMENT, {"spec": {"list": [9], "replicas": None, "new": {"a": None, "b": 1}}})
    assert patched["spec"] == {"list": [9], "new": {"b": 1}}
    assert patched["metadata"] == DEPLOYMENT["metadata"]


CONTAINERS = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "tolerations": [1]}}


def merged(patch, target=CONTAINERS, kind="Pod"):
    return strategic_merge_patch(target, {"spec": patch}, kind)["spec"]


def test_strategic_merge_finds_list_elements_by_their_merge_key():
    patched = merged({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]})
    assert [(each["name"], each["image"]) for each in patched["containers"]] == [("a", "1"), ("b", "2"), ("c", "3")]


def test_strategic_merge_deletes_orders_and_replaces_as_directed():
    assert (
        merged({"containers": [{"name": "a", "$patch": "delete"}]})["containers"]
        == CONTAINERS["spec"]["containers"][1:]
    )
    order = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}
    assert [each["name"] for each in merged(order)["containers"]] == ["b", "a"]
    replaced = merged({"containers": [{"$patch": "replace"}, {"name": "z"}]})
    assert replaced["containers"] == [{"name": "z"}]
    assert merged({"$retainKeys": ["tolerations"]}) == {"tolerations": [1]}


def test_strategic_merge_treats_tolerations_as_one_value_and_finalizers_as_a_set():
    assert merged({"tolerations": [2]})["tolerations"] == [2]
    target = {"metadata": {"finalizers": ["a", "b"]}}
    added = strategic_merge_patch(target, {"metadata": {"finalizers": ["b", "c"]}}, "Pod")
    assert added["metadata"]["finalizers"] == ["a", "b", "c"]
    taken = strategic_merge_patch(target, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, "Pod")
    assert taken["metadata"]["finalizers"] == ["b"]


def test_ports_merge_by_port_in_a_service_and_by_container_port_in_a_pod():
    target = {"spec": {"ports": [{"port": 80, "containerPort": 1, "x": 1}]}}
    assert merged({"ports": [{"port": 80, "x": 2}]}, target, "Service")["ports"][0]["x"] == 2
    assert merged({"ports": [{"containerPort": 1, "x": 3}]}, target)["ports"][0]["x"] == 3
