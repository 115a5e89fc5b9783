"""Reading files for the command line, and writing a snapshot without secrets."""

import io
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apportion.api import dump
from apportion.api.documents import UnreadableText, documents
from apportion.api.dump import InputError, Loaded, load_objects, snapshot_document

NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p1", "namespace": "a"}, "spec": {}}
QUEUE = {"apiVersion": "apportion.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "q"}, "spec": {}}
JOB = {
    "apiVersion": "apportion.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "j"},
    "spec": {"maxReplicas": 2, "workloadRef": {"name": "web"}},
}
NOTHING = io.StringIO()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load files with these texts, named f0.yaml, f1.yaml, ... in a folder of their own."""
    monkeypatch.chdir(tmp_path)

    def load(*texts: str | bytes) -> Loaded:
        for index, text in enumerate(texts):
            (tmp_path / f"f{index}.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return load_objects([f"f{index}.yaml" for index in range(len(texts))], NOTHING)

    return load


def names(loaded: Loaded) -> list[str]:
    return [raw["metadata"]["name"] for raw in loaded.objects]


def test_documents_lists_and_json_are_one_stream(load):
    listed = {"apiVersion": "v1", "kind": "List", "items": [NODE, POD]}
    typed = {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "p2", "namespace": "a"}}]}
    loaded = load(
        "---\n" + yaml.safe_dump(listed) + "---\n# nothing\n---\n" + yaml.safe_dump(QUEUE),
        json.dumps(typed) + "\n" + json.dumps(JOB),
        "{apiVersion: v1, kind: Namespace, metadata: {name: flow}}",
    )
    assert names(loaded) == ["n1", "p1", "q", "p2", "j", "flow"]
    assert [raw["kind"] for raw in loaded.objects][3] == "Pod"
    assert [raw["metadata"]["name"] for raw in loaded.of_kind("Queue")] == ["q"]


def test_an_empty_list_is_no_mistake(load):
    assert load('{"apiVersion": "v1", "kind": "List", "items": []}').objects == ()
    assert load("apiVersion: v1\nkind: PodList\nitems:\n").objects == ()


def test_standard_input_is_read_as_bytes_and_as_text():
    text = yaml.safe_dump(NODE)
    for stream in (io.TextIOWrapper(io.BytesIO(text.encode())), io.StringIO(text)):
        assert names(load_objects(["-"], stream)) == ["n1"]


def test_other_kinds_are_counted(load):
    other = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "metadata": {"name": "q"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    loaded = load(yaml.safe_dump_all([secret, NODE, other, {**secret, "metadata": {}}]))
    assert names(loaded) == ["n1"]
    assert loaded.ignored == {"Queue": 1, "Secret": 2}


def test_a_status_of_somebody_elses_is_another_kind(load):
    assert load("{apiVersion: example.com/v1, kind: Status, metadata: {name: s}}").ignored == {"Status": 1}


def test_a_namespace_that_is_left_out_is_default(load):
    loaded = load(yaml.safe_dump_all([JOB, NODE, QUEUE]))
    assert [raw["metadata"].get("namespace") for raw in loaded.objects] == ["default", None, None]


def test_unknown_fields_are_named(load):
    loaded = load(yaml.safe_dump({**QUEUE, "spec": {"budgets": {"perHour": 3}}}))
    assert loaded.warnings == ("f0.yaml: document 1: Queue q: unknown field spec.budgets",)


def test_values_are_those_of_kubernetes(load):
    labels = "{a: 2026-01-01, b: 1:30, c: =, d: 1e3, e: 0x10, 7: x, true: y}"
    (node,) = load(f"apiVersion: v1\nkind: Node\nmetadata: {{name: n, labels: {labels}}}").objects
    assert node["metadata"]["labels"] == {
        "a": "2026-01-01",
        "b": "1:30",
        "c": "=",
        "d": 1000.0,
        "e": 16,
        "7": "x",
        "true": "y",
    }


def test_merge_keys_and_anchors_work(load):
    (node,) = load("apiVersion: v1\nkind: Node\nmetadata: &m {name: n}\nspec: {<<: *m, <<: {x: 1}, other: 2}\n").objects
    assert node["spec"] == {"name": "n", "x": 1, "other": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f0.yaml: expected Kubernetes objects as YAML or JSON, found nothing"),
        ("# only words\n---\n", "f0.yaml: expected Kubernetes objects as YAML or JSON, found nothing"),
        ("hello", 'f0.yaml: document 1: expected an object with apiVersion and kind, not "hello"'),
        ("[1]", "f0.yaml: document 1: expected an object with apiVersion and kind, not a list of 1"),
        ("---\n" + yaml.safe_dump(NODE) + "---\n3\n", "f0.yaml: document 2: expected an object with"),
        ("kind: Pod", "f0.yaml: document 1: apiVersion: expected a string, not null"),
        ("apiVersion: v1\nkind: 3", "f0.yaml: document 1: kind: expected a string, not 3"),
        ("apiVersion: v1\nkind: Pod", "f0.yaml: document 1: Pod: metadata: expected a mapping, not null"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 3}", "f0.yaml: document 1: Pod: metadata.name: expected a str"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: [a]}",
            "f0.yaml: document 1: Pod x: metadata.namespace: expected a string",
        ),
        (
            "{apiVersion: v1, kind: Status, status: Failure, reason: Unauthorized, message: Unauthorized, code: 401}",
            'f0.yaml: document 1: expected objects, not the Status of a request: "Unauthorized"',
        ),
        (
            yaml.safe_dump_all([NODE, {"apiVersion": "v1", "kind": "Status", "metadata": {}}]),
            "f0.yaml: document 2: expected objects, not the Status of a request: null",
        ),
        (
            "{apiVersion: meta.k8s.io/v1, kind: Table, columnDefinitions: [], rows: []}",
            "f0.yaml: document 1: expected objects as with kubectl get -o yaml, not a Table of them",
        ),
        ("apiVersion: v1\nkind: List\nitems: 3", "f0.yaml: document 1: items: expected a list, not 3"),
        (
            json.dumps({"apiVersion": "v1", "kind": "List", "items": [NODE, {**JOB, "spec": {"maxReplicas": "4"}}]}),
            "f0.yaml: document 1, items[1]: TrainingJob default/j: spec.maxReplicas: expected an integer, not \"4\"",
        ),
        (
            yaml.safe_dump({**QUEUE, "apiVersion": "apportion.dev/v2"}),
            'f0.yaml: document 1: Queue q: apiVersion: expected apportion.dev/v1alpha1, not "apportion.dev/v2"',
        ),
        ("a: [1, 2", "f0.yaml: document 1: line 2, column 1: expected YAML or JSON: "),
        ("a: 1\n---\na: 1\na: 2\n", 'f0.yaml: document 1: apiVersion: expected a string, not null'),
        ("apiVersion: v1\nkind: Pod\nkind: Pod", "f0.yaml: document 1: line 3, column 1: expected YAML or JSON: the"),
        ('{"kind": "Pod", "kind": "Node"}', "f0.yaml: document 1: line 1, column 17: expected YAML or JSON: the"),
        ("a: !!python/object:os.system x", "f0.yaml: document 1: line 1, column 4: expected YAML or JSON: "),
        ("a: &a [*a]", "f0.yaml: document 1: expected a finite document: an alias holds itself"),
        ("a: " + "9" * 5000, "f0.yaml: document 1: expected values that JSON has: "),
        ("? [1]\n: 2", "f0.yaml: document 1: "),
        ("{" * 100_000, "f0.yaml: document 1: expected at most 200 levels of nesting"),
        ("a: " + "[" * 5000 + "]" * 5000, "f0.yaml: document 1: expected at most 200 levels of nesting"),
        (b"\x7fELF\x00\x01", "f0.yaml: expected text, found a zero byte: is this a binary file?"),
        (b"a: \xff", "f0.yaml: expected UTF-8 text, found another byte at 3"),
        (b"a: \x1b", "f0.yaml: document 1: "),
    ],
)  # fmt: skip
def test_a_file_error_names_file_document_field_and_what_was_expected(load, text, said):
    with pytest.raises(InputError) as error:
        load(text)
    assert error.value.message.startswith(said)
    assert error.value.message.isprintable()
    assert len(error.value.message) < 400


def test_a_bomb_of_aliases_is_refused(load):
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(InputError, match="aliases of aliases"):
        load(bomb)


def test_the_same_object_twice_is_refused_with_both_places(load):
    again = {**JOB, "metadata": {"name": "j", "namespace": "default"}}
    with pytest.raises(InputError) as error:
        load(yaml.safe_dump_all([NODE, JOB]), yaml.safe_dump(again))
    assert error.value.message == (
        "f1.yaml: document 1: expected each object once; TrainingJob default/j is also in f0.yaml: document 2"
    )


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, said in [
        ("missing.yaml", "missing.yaml: expected a readable file: No such file or directory"),
        (".", ".: expected a readable file: Is a directory"),
        ("a\0b", "a\\x00b: expected a readable file: "),
    ]:
        with pytest.raises(InputError) as error:
            load_objects([path], NOTHING)
        assert error.value.message.startswith(said)


def test_a_file_named_twice_is_refused():
    with pytest.raises(InputError, match="standard input: expected each file once"):
        load_objects(["-", "-"], io.StringIO(yaml.safe_dump(NODE)))


def test_a_file_that_is_too_large_is_refused(load, monkeypatch):
    monkeypatch.setattr(dump, "MOST_BYTES", 2**20)
    with pytest.raises(InputError, match="expected at most 1 MiB"):
        load("#" * (2**20 + 1))


@given(st.text() | st.binary())
def test_reading_is_total(data):
    stream = io.TextIOWrapper(io.BytesIO(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")))
    assert "\n" not in outcome(stream)


def outcome(stream: io.TextIOWrapper) -> str:
    try:
        return str(len(load_objects(["-"], stream).objects))
    except InputError as error:
        return error.message


@given(st.text(alphabet="{}[]:,-&*!|>'\"# \nab1.<=?", max_size=60))
def test_documents_are_json_values_or_refused(text):
    assert all(json.dumps(value) for value in values(text))


def values(text: str) -> list[Any]:
    try:
        return [value for _, value in documents(text)]
    except UnreadableText:
        return []


TOLD = {
    "env": [{"name": "TOKEN", "value": "s3cret"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3cret"}}}],
    "envFrom": [{"secretRef": {"name": "s3cret"}}],
    "command": ["train", "--password=s3cret"],
    "args": ["s3cret"],
    "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "x", "value": "s3cret"}]}},
    "lifecycle": {"preStop": {"exec": {"command": ["s3cret"]}}},
}
CONTAINER = {"name": "main", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
POD_SPEC = {"nodeName": "n1", "containers": [CONTAINER | TOLD], "initContainers": [TOLD | {"name": "init"}]}
ANNOTATIONS = {"kubectl.kubernetes.io/last-applied-configuration": "s3cret", "apportion.dev/decision": "7"}


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "ReplicaSet", "TrainingJob"])
def test_a_snapshot_holds_no_secrets_and_all_that_counts(kind):
    metadata = {"name": "x", "annotations": ANNOTATIONS, "managedFields": [{"f": "s3cret"}]}
    template = {"metadata": metadata, "spec": POD_SPEC}
    raw = {"kind": kind, "metadata": metadata, "spec": POD_SPEC if kind == "Pod" else {"template": template}}
    document = snapshot_document([raw])
    assert "s3cret" not in json.dumps(document)
    clean = document["items"][0]
    assert clean["metadata"] == {"name": "x", "annotations": {"apportion.dev/decision": "7"}}
    spec = clean["spec"] if kind == "Pod" else clean["spec"]["template"]["spec"]
    assert spec == {
        "nodeName": "n1",
        "containers": [{**CONTAINER, "env": [{"name": "TOKEN"}, {"name": "KEY"}]}],
        "initContainers": [{"name": "init", "env": [{"name": "TOKEN"}, {"name": "KEY"}]}],
    }
    assert raw["spec"] == (POD_SPEC if kind == "Pod" else {"template": template}), "the original is left alone"


def test_a_snapshot_is_ordered_and_holds_only_what_is_read():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}}
    objects = [JOB, POD, secret, {**NODE, "metadata": {"name": "n0"}}, NODE, QUEUE]
    document = snapshot_document(objects)
    assert document == snapshot_document(reversed(objects))
    assert [raw["metadata"]["name"] for raw in document["items"]] == ["n0", "n1", "p1", "q", "j"]
    assert (document["apiVersion"], document["kind"]) == ("v1", "List")


@pytest.mark.parametrize("spec", [None, 3, {"template": 3}, {"template": {"spec": {"containers": 3}}}])
def test_a_snapshot_of_strange_objects_is_taken_as_well(spec):
    strange = {"kind": "Deployment", "metadata": {"annotations": None}, "spec": spec}
    assert snapshot_document([strange])["items"] == [strange | {"spec": spec}] or spec is not None
    pod = {"kind": "Pod", "metadata": 3, "spec": {"containers": [3, {"env": 3}]}}
    assert snapshot_document([pod])["items"] == [{"kind": "Pod", "metadata": 3, "spec": {"containers": [3, {}]}}]


def test_a_snapshot_can_be_loaded_again(load):
    document = snapshot_document([JOB | {"metadata": {"name": "j", "namespace": "a"}}, NODE, QUEUE])
    assert list(load(yaml.safe_dump(document)).objects) == document["items"]
