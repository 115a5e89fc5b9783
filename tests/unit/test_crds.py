"""The definitions are those of the models, and such as an API server takes: structural, bounded, described."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from apportion.api.crds import RESOURCES, crd_documents, crd_files, write
from unit.api_cases import ABSENT, JOB, POLICY, QUEUE, TEMPLATED, VALID, changed

ROOT = Path(__file__).parents[2]
DOCUMENTS = crd_documents()
SCHEMAS = {
    document["spec"]["names"]["kind"]: document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for document in DOCUMENTS
}
AMOUNT_MARK = {"enum": [True, False]}


def parts(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from parts(schema[key], path + mark)


PARTS = [(path, part) for kind, schema in SCHEMAS.items() for path, part in parts(schema, kind)]


def is_amount(schema: dict[str, Any]) -> bool:
    return schema.get("not") == AMOUNT_MARK


@pytest.mark.parametrize("folder", ["crds", "helm/apportion/files/crds"])
def test_the_files_are_made_from_the_models(folder):
    found = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / folder).glob("*.yaml")}
    assert found == crd_files(), f"run: apportion crds --output {folder}"


def test_write_makes_the_folder_and_names_the_files(tmp_path):
    written = write(tmp_path / "new" / "crds")
    assert {path.name: path.read_text(encoding="utf-8") for path in written} == crd_files()


def test_kubectl_apply_can_annotate_every_file():
    assert all(len(text.encode()) < 200_000 for text in crd_files().values())
    assert [yaml.safe_load(text) for text in crd_files().values()] == DOCUMENTS


def test_every_part_has_a_type_and_only_known_keywords():
    known = {
        "type", "description", "default", "enum", "format", "pattern", "minimum", "exclusiveMinimum", "maximum",
        "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "not", "required",
        "properties", "items", "additionalProperties", "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
    }  # fmt: skip
    for path, part in PARTS:
        assert set(part) <= known, path
        assert part.get("type") in ("object", "array", "string", "integer", "number", "boolean") or is_amount(part), (
            path
        )
        assert not ("properties" in part and "additionalProperties" in part), path
        assert ("items" in part) == (part.get("type") == "array"), path


def test_every_field_is_described():
    standard = {f"{kind}.metadata" for kind in SCHEMAS}
    fields = [(path, part) for path, part in PARTS if not path.endswith(("[]", "{}")) and path not in standard]
    assert [path for path, part in fields if not part.get("description", "").endswith(".")] == []


def test_everything_has_its_bounds():
    for path, part in PARTS:
        match part.get("type"):
            case "string":
                assert "maxLength" in part or "enum" in part, path
            case "array":
                assert "maxItems" in part, path
            case "integer" | "number":
                assert {"minimum", "maximum"} <= set(part), path
                assert isinstance(part.get("exclusiveMinimum", True), bool), path
            case "object" if "additionalProperties" in part:
                assert "maxProperties" in part, path
    assert sum("minimum" in part for _, part in PARTS) > 20


def estimated_cost(rule: str, at: dict[str, Any]) -> int:
    """A generous upper bound of the API server's estimate: each macro over a list multiplies by its longest length."""
    longest = max([part.get("maxItems", 1) for _, part in parts(at, "")])
    return 100 * longest ** len(re.findall(r"\.(?:all|exists|exists_one)\(", rule))


def test_rules_stay_within_the_cost_budget():
    rules = [(path, part, rule) for path, part in PARTS for rule in part.get("x-kubernetes-validations", ())]
    assert len(rules) > 10
    for path, part, rule in rules:
        assert set(rule) == {"rule", "message"}, path
        assert estimated_cost(rule["rule"], part) * times_validated(path) < 10_000_000, (path, rule)


def test_rules_ask_only_for_fields_that_have_a_type():
    """CEL knows no others: the API server refuses the whole definition."""
    for path, part in PARTS:
        for rule in part.get("x-kubernetes-validations", ()):
            asked = set(re.findall(r"\b(?:self|oldSelf)\.(\w+)", rule["rule"])) & part["properties"].keys()
            assert all("type" in part["properties"][name] for name in asked), f"{path}: {rule['rule']}"


def times_validated(path: str) -> int:
    """How often the rule may run in one object: the product of the lists above it."""
    lengths = dict(PARTS)
    above = [before for before, _ in pairwise([*path_prefixes(path), path])]
    product = 1
    for prefix in above:
        product *= lengths[prefix].get("maxItems", 1)
    return product


def path_prefixes(path: str) -> list[str]:
    return [path[: found.start()] for found in re.finditer(r"\[\]", path)]


def test_defaults_are_valid_and_none_is_in_the_status():
    for path, part in PARTS:
        if "default" in part:
            assert ".status" not in path
            assert broken(part["default"], part, path) == [], path


def test_what_cannot_change_is_ruled_at_the_spec():
    """A rule on an optional field does not run when the field goes away."""
    transitions = [path for path, part in PARTS for rule in part.get("x-kubernetes-validations", ())
                   if "oldSelf" in rule["rule"]]  # fmt: skip
    assert transitions == ["TrainingJob.spec", "TrainingJob.spec"]


def test_names_columns_and_subresources():
    shape = {
        document["metadata"]["name"]: (
            document["spec"]["scope"],
            document["spec"]["names"]["shortNames"],
            [column["name"] for column in document["spec"]["versions"][0]["additionalPrinterColumns"]],
        )
        for document in DOCUMENTS
    }
    assert shape == {
        "trainingjobs.apportion.dev": (
            "Namespaced",
            ["tj"],
            ["Queue", "Flavor", "Replicas", "Min", "Max", "Phase", "Age", "Ready", "Message"],
        ),
        "queues.apportion.dev": ("Cluster", ["aq"], ["Cohort", "Weight", "Admitted", "Pending", "Age"]),
        "allocationpolicies.apportion.dev": ("Cluster", ["alp"], ["Mode", "Round", "Objective", "Gap", "Age"]),
    }
    assert all(document["spec"]["versions"][0]["subresources"] == {"status": {}} for document in DOCUMENTS)


def test_columns_show_fields_that_exist():
    paths = {path for path, _ in PARTS}
    for resource in RESOURCES:
        for column in resource.columns:
            assert column.path.startswith(".metadata.") or f"{resource.kind}{column.path}" in paths, column


@pytest.mark.parametrize("kind", [JOB, QUEUE, POLICY])
def test_examples_are_valid_and_complete(kind):
    assert broken(VALID[kind], SCHEMAS[kind], kind) == []
    told = {path for path, _ in mentioned(VALID[kind]["spec"], f"{kind}.spec")}
    left_out = {
        "TrainingJob.spec.template",
        "TrainingJob.spec.target.throughput",
        "Queue.spec.namespaceSelector.matchExpressions",
    }
    wanted = {path for path, _ in PARTS if path.startswith(f"{kind}.spec.") and "[" not in path and "{" not in path}
    assert {path for path in wanted - told if not path.startswith(tuple(left_out))} == set()


def mentioned(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from mentioned(inner, f"{path}.{name}")


@pytest.mark.parametrize(
    ("kind", "changes", "where"),
    [
        (JOB, {"spec.minReplicas": True}, "TrainingJob.spec.minReplicas"),
        (JOB, {"spec.maxReplicas": ABSENT}, "TrainingJob.spec.maxReplicas"),
        (JOB, {"spec.completionPolicy": "Sometimes"}, "TrainingJob.spec.completionPolicy"),
        (JOB, TEMPLATED | {"spec.template": {"spec": {}}}, "TrainingJob.spec.template.spec.containers"),
        (QUEUE, {"spec.flavors": [{"name": "h*", "nominalQuota": 1}]}, "Queue.spec.flavors[].name"),
        (POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": "2.50 EUR"}]},
         "AllocationPolicy.spec.flavors[].pricePerHour"),
        (POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": True}]},
         "AllocationPolicy.spec.flavors[].pricePerHour"),
    ],
)  # fmt: skip
def test_the_schema_alone_refuses(kind, changes, where):
    assert broken(changed(kind, changes), SCHEMAS[kind], kind) == [where]


TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)
}  # fmt: skip


def broken(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    """Where the value breaks the schema (rules apart), as an API server reads it."""
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [path]
    return [path] * (not fits(value, schema)) + [
        where
        for name, part in schema.get("properties", {}).items()
        if isinstance(value, dict)
        for where in (
            broken(value[name], part, f"{path}.{name}")
            if name in value
            else [f"{path}.{name}"] * (name in schema.get("required", ()))
        )
    ] + [
        where
        for item in (value if isinstance(value, list) and "items" in schema else ())
        for where in broken(item, schema["items"], path + "[]")
    ]  # fmt: skip


def fits(value: Any, schema: dict[str, Any]) -> bool:
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, bool):
        return not is_amount(schema)
    if isinstance(value, str):
        return len(value) <= schema.get("maxLength", len(value)) and bool(re.search(schema.get("pattern", ""), value))
    if isinstance(value, int | float):
        low = schema.get("minimum", value)
        return low <= value <= schema.get("maximum", value) and not (schema.get("exclusiveMinimum") and value == low)
    length = len(value)
    suffix = "Items" if isinstance(value, list) else "Properties"
    return schema.get(f"min{suffix}", length) <= length <= schema.get(f"max{suffix}", length)
