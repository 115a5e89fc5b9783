"""What the sandbox does between a request and the storage: conflicts, generations, isolation, finalizers, owners."""

import pytest

from apportion.sandbox import ManualClock, Sandbox, StatusError, deployment, node, pod
from apportion.sandbox.store import Deletion, Write

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.dev"},
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"size": {"type": "integer", "minimum": 1, "default": 3}},
                            },
                            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                        },
                    }
                },
            }
        ],
    },
}


def widget(name="w", **spec):
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": meta, "spec": spec}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    store = Sandbox(clock=clock).store
    store.apply(CRD)
    return store


def refusal(call, *args, **kwargs):
    with pytest.raises(StatusError) as refused:
        call(*args, **kwargs)
    return refused.value


def test_a_crd_is_established_and_serves_its_kind(store):
    conditions = store.get("crd", "", "widgets.example.dev")["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions} == {"NamesAccepted": "True", "Established": "True"}
    assert store.apply(widget())["spec"] == {"size": 3}


def test_a_deleted_crd_takes_its_objects_with_it(store):
    store.apply(widget())
    store.delete("crd", "", "widgets.example.dev")
    assert refusal(store.get, "widgets", "default", "w").code == 404
    store.apply(CRD)
    assert store.list("widgets") == []


def test_a_write_that_changes_nothing_keeps_the_revision_and_tells_nobody(store):
    before = store.apply(widget(size=1))
    heard = []
    store.storage.listen(None, heard.append)
    assert store.apply(widget(size=1)) == before
    assert heard == []


def test_the_generation_counts_changes_of_the_spec_alone(store):
    assert store.apply(widget(size=1))["metadata"]["generation"] == 1
    store.update("widgets", "default", "w", lambda o: {**o, "status": {"phase": "x"}}, Write("me", "status"))
    labelled = {"labels": {"a": "b"}}
    store.update("widgets", "default", "w", lambda o: {**o, "metadata": {**o["metadata"], **labelled}})
    assert store.get("widgets", "default", "w")["metadata"]["generation"] == 1
    assert store.apply(widget(size=2))["metadata"]["generation"] == 2


def test_status_and_spec_are_written_apart(store):
    store.apply(widget(size=1))

    def everything(old):
        return {**old, "spec": {"size": 9}, "status": {"phase": "new"}}

    store.update("widgets", "default", "w", everything, Write("me", "status"))
    stored = store.get("widgets", "default", "w")
    assert (stored["spec"]["size"], stored["status"]["phase"]) == (1, "new")
    store.update("widgets", "default", "w", lambda o: {**o, "spec": {"size": 9}, "status": {"phase": "other"}})
    stored = store.get("widgets", "default", "w")
    assert (stored["spec"]["size"], stored["status"]["phase"]) == (9, "new")


def test_an_old_resource_version_is_a_conflict(store):
    old = store.apply(widget(size=1))
    store.apply(widget(size=2))
    error = refusal(store.update, "widgets", "default", "w", lambda _: {**old, "spec": {"size": 3}})
    assert (error.code, error.reason) == (409, "Conflict")
    assert "the object has been modified" in error.message


def test_a_put_of_a_custom_resource_needs_a_resource_version(store):
    store.apply(widget())
    error = refusal(store.update, "widgets", "default", "w", lambda _: widget(size=2), unconditional=False)
    assert (error.code, error.details["causes"][0]["field"]) == (422, "metadata.resourceVersion")


def test_invalid_objects_are_refused_with_causes_and_change_nothing(store):
    before = store.apply(widget(size=1))
    error = refusal(store.apply, widget(size=0))
    assert error.message.startswith('Widget.example.dev "w" is invalid: spec.size: Invalid value: 0')
    assert error.details["causes"][0]["reason"] == "FieldValueInvalid"
    assert store.get("widgets", "default", "w") == before


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "a..b", "x" * 254])
def test_names_are_checked(store, name):
    assert refusal(store.apply, widget(name)).code == 422


def test_objects_need_their_namespace(store):
    resource = store.resource("pods")
    error = refusal(store.create, resource, "nowhere", pod("p", "nowhere"))
    assert (error.code, error.message) == (404, 'namespaces "nowhere" not found')


def test_generated_names_continue_the_prefix(store):
    made = pod("x")
    made["metadata"] = {"generateName": "job-"}
    first = store.create(store.resource("pods"), "default", made).obj["metadata"]["name"]
    assert first.startswith("job-")
    assert len(first) == 9


def test_a_dry_run_answers_and_stores_nothing(store):
    record = store.create(store.resource("pods"), "default", pod("p"), Write(dry_run=True))
    assert record.obj["metadata"]["uid"]
    assert store.find("pods", "default", "p") is None


def test_finalizers_keep_a_deleted_object_until_they_are_gone(store):
    held = widget()
    held["metadata"]["finalizers"] = ["example.dev/hold"]
    store.apply(held)
    _, gone = store.delete("widgets", "default", "w")
    assert not gone
    assert "deletionTimestamp" in store.get("widgets", "default", "w")["metadata"]

    def with_finalizers(names):
        return lambda old: {**old, "metadata": {**old["metadata"], "finalizers": names}}

    error = refusal(store.update, "widgets", "default", "w", with_finalizers(["example.dev/hold", "more"]))
    assert error.code == 422
    store.update("widgets", "default", "w", with_finalizers([]))
    assert store.find("widgets", "default", "w") is None


def test_deletion_checks_its_preconditions(store):
    store.apply(widget())
    assert refusal(store.delete, "widgets", "default", "w", Deletion(uid="other")).code == 409
    assert refusal(store.delete, "widgets", "default", "w", Deletion(revision="1")).code == 409


def owned_by(owner, name, block=True):
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    meta = owner["metadata"]
    reference = {"apiVersion": "v1", "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    made["metadata"]["ownerReferences"] = [{**reference, "blockOwnerDeletion": block}]
    return made


@pytest.mark.parametrize(
    ("propagation", "dependant", "owner_waits"),
    [("Background", None, False), ("Foreground", None, True), ("Orphan", "orphaned", True)],
)
def test_what_owners_leave_behind(store, clock, propagation, dependant, owner_waits):
    owner = store.apply(widget())
    store.apply(owned_by(owner, "below"))
    _, gone = store.delete("widgets", "default", "w", Deletion(propagation=propagation))
    assert gone is not owner_waits
    clock.advance()
    assert store.find("widgets", "default", "w") is None
    found = store.find("configmaps", "default", "below")
    assert (found and found["metadata"].get("ownerReferences", "orphaned")) == dependant


def test_an_object_with_another_living_owner_stays(store, clock):
    first, second = store.apply(widget("one")), store.apply(widget("two"))
    made = owned_by(first, "below")
    made["metadata"]["ownerReferences"] += owned_by(second, "x")["metadata"]["ownerReferences"]
    store.apply(made)
    store.delete("widgets", "default", "one")
    clock.advance()
    owners = store.get("configmaps", "default", "below")["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in owners] == ["two"]


def test_an_object_whose_owner_never_existed_goes(store, clock):
    owner = store.apply(widget())
    store.delete("widgets", "default", "w")
    store.apply(owned_by(owner, "late"))
    clock.advance()
    assert store.find("configmaps", "default", "late") is None


def test_a_deleted_namespace_is_emptied_first_and_takes_nothing_new(store, clock):
    store.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    held = widget()
    held["metadata"] |= {"namespace": "team", "finalizers": ["example.dev/hold"]}
    store.apply(held)
    store.delete("namespaces", "", "team")
    clock.advance(2)
    assert store.get("namespaces", "", "team")["status"]["phase"] == "Terminating"
    assert refusal(store.apply, pod("p", "team")).code == 403
    store.update("widgets", "team", "w", lambda o: {**o, "metadata": {**o["metadata"], "finalizers": []}})
    clock.advance(2)
    assert store.find("namespaces", "", "team") is None


def test_managed_fields_name_the_last_writer_of_a_field(store):
    store.apply(deployment("d", 1), manager="first")
    store.update("deployments", "default", "d", lambda o: {**o, "spec": {**o["spec"], "replicas": 7}}, Write("other"))
    entries = {
        each["manager"]: each["fieldsV1"] for each in store.get("deploy", "default", "d")["metadata"]["managedFields"]
    }
    assert "f:replicas" in entries["other"]["f:spec"]
    assert "f:replicas" not in entries["first"]["f:spec"]


def test_pods_get_what_admission_gives_them(store):
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 9}
    store.apply(priority)
    spec = store.apply(pod("p", spec={"priorityClassName": "high"}))["spec"]
    assert spec["priority"] == 9
    borne = {each["key"]: each["tolerationSeconds"] for each in spec["tolerations"]}
    assert borne == {"node.kubernetes.io/not-ready": 300, "node.kubernetes.io/unreachable": 300}
    assert refusal(store.apply, pod("q", spec={"priorityClassName": "absent"})).code == 403


def test_a_pods_spec_is_fixed(store):
    store.apply(pod("p"))
    error = refusal(
        store.update, "pods", "default", "p", lambda o: {**o, "spec": {**o["spec"], "nodeSelector": {"a": "b"}}}
    )
    assert "pod updates may not change fields other than" in error.message


def test_a_deployments_selector_is_fixed_and_matches_its_template(store):
    store.apply(deployment("d"))
    other = deployment("d")
    other["spec"]["selector"] = {"matchLabels": {"app": "x"}}
    causes = refusal(store.apply, other).details["causes"]
    assert {cause["field"] for cause in causes} == {"spec.selector", "spec.template.metadata.labels"}


def test_a_node_without_conditions_becomes_ready(store, clock):
    store.apply(node("n"))
    clock.advance()
    conditions = store.get("nodes", "", "n")["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions}["Ready"] == "True"


def broken(change):
    obj = deployment("d")
    change(obj["spec"], obj["spec"]["template"]["spec"])
    return obj


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda spec, _: spec.update(replicas="many"), 400, id="replicas as text"),
        pytest.param(lambda spec, _: spec.update(replicas=-1), 422, id="negative replicas"),
        pytest.param(lambda spec, _: spec.update(template="x"), 400, id="template as text"),
        pytest.param(lambda _, pod: pod.update(tolerations="x"), 400, id="tolerations as text"),
        pytest.param(lambda _, pod: pod.update(containers=[]), 422, id="no containers"),
        pytest.param(
            lambda _, pod: pod["containers"][0].update(resources={"limits": {"cpu": "lots"}}), 400, id="no quantity"
        ),
        pytest.param(
            lambda _, pod: pod["containers"][0].update(resources={"requests": {"nvidia.com/gpu": "1"}}),
            422,
            id="devices without a limit",
        ),
    ],
)  # fmt: skip
def test_malformed_workloads_are_refused_and_nothing_is_stored(store, change, code):
    assert refusal(store.apply, broken(change)).code == code
    assert store.list("deployments") == []


@pytest.mark.parametrize("field", ["group", "scope", "names", "versions"])
def test_incomplete_definitions_are_refused(store, field):
    crd = {**CRD, "metadata": {"name": "other.example.dev"}, "spec": {**CRD["spec"]}}
    del crd["spec"][field]
    assert refusal(store.apply, crd).code == 422
