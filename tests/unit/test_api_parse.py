"""Objects into models: what is accepted, and which field and words a refusal names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.api import (
    InvalidObject,
    parse_allocation_policy,
    parse_queue,
    parse_training_job,
    unknown_fields,
)
from unit.api_cases import ABSENT, CASES, JOB, POLICY, QUEUE, TEMPLATED, VALID, changed

PARSERS = {JOB: parse_training_job, QUEUE: parse_queue, POLICY: parse_allocation_policy}


@pytest.mark.parametrize(("kind", "changes", "field"), [pytest.param(*c[1:], id=f"{c[1]}: {c[0]}") for c in CASES])
def test_a_refusal_names_the_object_and_the_field(kind, changes, field):
    raw = changed(kind, changes)
    if field is None:
        PARSERS[kind](raw)
        return
    with pytest.raises(InvalidObject) as refused:
        PARSERS[kind](raw)
    assert refused.value.field == field
    assert (refused.value.kind, refused.value.name) == (kind, raw["metadata"]["name"])
    assert str(refused.value).startswith(f"{kind} ")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec.minReplicas": True}, "spec.minReplicas: expected an integer, not true"),
        (
            {"spec.minReplicas": 10**5000},
            "spec.minReplicas: expected at most 100000, not a number of more than 64 bits",
        ),
        ({"spec.minReplicas": float("nan")}, "spec.minReplicas: expected an integer, not nan"),
        ({"spec.suspend": [1, 2]}, "spec.suspend: expected true or false, not a list of 2"),
        ({"spec.accelerators": 3}, "spec.accelerators: expected a mapping, not 3"),
        ({"spec.maxReplicas": ABSENT}, "spec.maxReplicas: is required"),
        (
            {"spec.replicaSteps": [2, 32]},
            "spec.replicaSteps[1]: every element of replicaSteps must lie between minReplicas and maxReplicas"
            "; found 32",
        ),
        (
            {"spec.completionPolicy": "Some\x1btimes"},
            "spec.completionPolicy: expected 'OnExitZero' or 'Never', not \"Some\\x1btimes\"",
        ),
        ({"spec.queueName": "\ud800"}, "spec.queueName: expected text that can be written as UTF-8"),
        (
            {"spec.scaling.usl.sigma": float("inf")},
            "spec.scaling.usl.sigma: expected a number of at least 0, or one as a decimal string; found inf",
        ),
        (
            {"spec.queueName": "Research"},
            "spec.queueName: expected a-z, 0-9, '-' and '.', as in a Kubernetes name, not \"Research\"",
        ),
    ],
)
def test_a_refusal_is_one_clear_sentence(changes, said):
    with pytest.raises(InvalidObject) as refused:
        parse_training_job(changed(JOB, changes))
    assert str(refused.value) == f"TrainingJob team-a/llama-sft: {said}"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), True, 10**400])
def test_numbers_are_finite_and_no_bools(number):
    with pytest.raises(InvalidObject, match=r"spec\.weight"):
        parse_queue(changed(QUEUE, {"spec.weight": number}))
    with pytest.raises(InvalidObject, match=r"pricePerHour"):
        parse_allocation_policy(changed(POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": number}]}))


@pytest.mark.parametrize("raw", [None, 3, [], "x", {}, {"metadata": 3}, {"metadata": {"name": 7}}, {3: 4}])
def test_what_is_no_object_is_refused_as_one(raw):
    for parse in PARSERS.values():
        with pytest.raises(InvalidObject):
            parse(raw)


def test_another_kind_or_version_is_refused():
    with pytest.raises(InvalidObject, match='kind: expected Queue, not "TrainingJob"'):
        parse_queue(VALID[JOB])
    with pytest.raises(InvalidObject, match=r'apiVersion: expected apportion\.dev/v1alpha1, not "apportion\.dev/v2"'):
        parse_queue({**VALID[QUEUE], "apiVersion": "apportion.dev/v2"})


def test_items_of_a_list_carry_neither_kind_nor_version():
    raw = {key: VALID[QUEUE][key] for key in ("metadata", "spec")}
    assert parse_queue(raw).metadata.name == "research"


def test_defaults():
    spec = parse_training_job(changed(JOB, {"spec": {"maxReplicas": 3, "workloadRef": {"name": "web"}}})).spec
    assert spec.model_dump(exclude={"workload_ref"}) == {
        "queue_name": None,
        "priority_class_name": None,
        "suspend": False,
        "preemptible": True,
        "min_replicas": 1,
        "max_replicas": 3,
        "replica_steps": None,
        "accelerators": {"resource": None, "per_replica": None, "flavors": None, "requirements": ()},
        "template": None,
        "scaling": {
            "mode": "PerReplicaBatch",
            "points": (),
            "usl": None,
            "metrics": {"query": None, "progress_query": None},
        },
        "target": None,
        "restart_seconds": 60,
        "min_runtime_seconds": 300,
        "placement_timeout_seconds": 60,
        "failure_limit": 6,
        "completion_policy": "OnExitZero",
    }


def test_values_arrive_as_python_values():
    job = parse_training_job(
        {
            **changed(JOB, {"spec.accelerators.flavors": [{"name": "a100", "speed": "0.45"}]}),
            "status": {
                "phase": "Running",
                "admission": {"flavor": "a100", "replicas": 4, "round": 7, "since": "2026-01-01T00:00:00Z"},
                "backoff": [{"flavor": "h100", "failures": 2, "until": "2026-01-01T01:00:00.5+01:00"}],
                "revertedAt": ["2026-01-01T00:00:00Z"],
                "readyRestarts": 3,
            },
        }
    )
    assert job.spec.replica_steps == (2, 4, 8, 16)
    assert job.spec.accelerators.flavors is not None
    assert job.spec.accelerators.flavors[0].speed == 0.45
    assert job.spec.scaling.usl is not None
    assert job.spec.scaling.usl.lambda_ == 100.0
    assert job.status.admission is not None
    assert job.status.admission.since == 1767225600.0
    assert job.status.backoff[0].until == 1767225600.5
    assert (job.status.reverted_at, job.status.ready_restarts) == ((1767225600.0,), 3)


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T00:00:00", 1767225600, "2026-13-01T00:00:00Z"])
def test_a_time_has_its_form_and_zone(time):
    admission = {"flavor": "a100", "replicas": 4, "round": 7, "since": time}
    with pytest.raises(InvalidObject) as refused:
        parse_training_job({**VALID[JOB], "status": {"admission": admission}})
    assert refused.value.field == "status.admission.since"


def test_models_are_frozen():
    job = parse_training_job(VALID[JOB])
    with pytest.raises(ValueError, match="frozen"):
        job.spec.max_replicas = 3


def test_unknown_fields_are_ignored_and_named():
    raw = changed(JOB, TEMPLATED | {"spec.acelerators": {}, "spec.scaling.metric": {"query": "x"}})
    raw["spec"]["accelerators"]["flavors"][1]["sped"] = 1
    raw["spec"]["template"]["spec"]["whatever"] = 1
    raw["spce"] = {}
    raw["metadata"]["managedFields"] = []
    raw["status"] = {"curve": {}}
    parse_training_job(raw)
    assert sorted(unknown_fields(raw)) == [
        "spce",
        "spec.accelerators.flavors[1].sped",
        "spec.acelerators",
        "spec.scaling.metric",
    ]
    assert unknown_fields({"kind": "Pod", "spec": {"x": 1}}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
PATHS = sorted(
    {"metadata", "metadata.name", "metadata.labels", "spec", "status"}
    | {f"spec.{name}" for name in VALID[JOB]["spec"]}
    | {"spec.accelerators.flavors", "spec.scaling.points", "spec.template", "spec.scaling.usl.lambda"}
)


@given(path=st.sampled_from(PATHS), value=JSON)
def test_parsing_is_total(path, value):
    raw = changed(JOB, {path: value})
    assert refusal(raw).isprintable()
    assert all(isinstance(field, str) for field in unknown_fields(raw))


def refusal(raw: dict[str, Any]) -> str:
    try:
        parse_training_job(raw)
    except InvalidObject as refused:
        return str(refused)
    return ""
