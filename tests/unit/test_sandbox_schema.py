"""Structural schemas: what is pruned, filled in and refused, and in which words."""

import pytest

from apportion.sandbox.schema import check_custom, fill_schema_defaults, prune, validate

SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
                "size": {"type": "integer", "minimum": 1, "maximum": 8, "default": 3},
                "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "amounts": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
                "maybe": {"type": "string", "nullable": True},
                "when": {"type": "string", "format": "date-time"},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "x-kubernetes-list-type": "set"},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["key"],
                    "items": {
                        "type": "object",
                        "properties": {"key": {"type": "string"}, "n": {"type": "integer", "default": 1}},
                    },
                },
            },
        }
    },
}


def test_unknown_fields_are_pruned_except_where_they_are_preserved():
    given = {"kind": "W", "metadata": {"x": 1}, "odd": 1, "spec": {"odd": 1, "open": {"odd": 1}, "amounts": {"any": 1}}}
    kept = {"kind": "W", "metadata": {"x": 1}, "spec": {"open": {"odd": 1}, "amounts": {"any": 1}}}
    assert prune(SCHEMA, given) == kept


def test_defaults_are_filled_in_also_inside_lists_and_for_null():
    value = {"spec": {"size": None, "parts": [{"key": "a"}], "maybe": None}}
    fill_schema_defaults(SCHEMA, value)
    assert value == {"spec": {"size": 3, "parts": [{"key": "a", "n": 1}], "maybe": None}}
    absent = {}
    fill_schema_defaults(SCHEMA, absent)
    assert absent == {}


VALID = {"name": "abc", "size": 8, "share": 0.5, "mode": "a", "amounts": {"x": "1", "y": 2}, "maybe": None,
         "when": "2030-01-01T00:00:00Z", "tags": ["x", "y"], "parts": [{"key": "a"}, {"key": "b"}]}  # fmt: skip


def test_a_valid_object_has_no_causes():
    assert validate(SCHEMA, {"spec": VALID}) == []


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"name": "a"}, "Invalid", 'Invalid value: "a": spec.name in body should be at least 2 chars long'),
        ({"name": "abcdef"}, "TooLong", "Too long: may not be more than 5 bytes"),
        ({"name": "ABC"}, "Invalid", "Invalid value: \"ABC\": spec.name in body should match '^[a-z]+$'"),
        ({"name": 1}, "TypeInvalid", 'Invalid value: "integer": spec.name in body must be of type string: "integer"'),
        ({"name": None}, "TypeInvalid", 'Invalid value: "null": spec.name in body must be of type string: "null"'),
        ({"size": 0}, "Invalid", "Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 9}, "Invalid", "Invalid value: 9: spec.size in body should be less than or equal to 8"),
        (
            {"size": True},
            "TypeInvalid",
            'Invalid value: "boolean": spec.size in body must be of type integer: "boolean"',
        ),
        ({"share": 0}, "Invalid", "Invalid value: 0: spec.share in body should be greater than 0"),
        ({"mode": "c"}, "NotSupported", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"when": "noon"}, "TypeInvalid", 'Invalid value: "noon": spec.when in body must be of type date-time: "noon"'),
        ({"tags": ["x", "y", "z"]}, "TooMany", "Too many: 3: must have at most 2 items"),
        ({"tags": ["x", "x"]}, "Duplicate", 'Duplicate value: "x"'),
        ({"parts": [{"key": "a"}, {"key": "a"}]}, "Duplicate", 'Duplicate value: {"key":"a"}'),
    ],
)
def test_faults_are_named_as_the_api_server_names_them(change, reason, message):
    (cause,) = validate(SCHEMA, {"spec": {**VALID, **change}})
    (field,) = change
    assert cause.field.startswith(f"spec.{field}")
    assert (cause.reason, cause.message) == (f"FieldValue{reason}", message)


def test_a_boolean_is_no_integer():
    (cause,) = validate(SCHEMA, {"spec": {**VALID, "size": True}})
    assert cause.reason == "FieldValueTypeInvalid"


def test_int_or_string_is_neither_a_fraction_nor_an_object():
    for wrong in (1.5, {}, True):
        (cause,) = validate(SCHEMA, {"spec": {**VALID, "amounts": {"x": wrong}}})
        assert (cause.field, cause.reason) == ("spec.amounts.x", "FieldValueTypeInvalid")


def test_every_fault_is_a_cause_of_its_own():
    causes = validate(SCHEMA, {"spec": {"size": 0, "mode": "c"}})
    assert sorted(cause.field for cause in causes) == ["spec.mode", "spec.name", "spec.size"]


def test_alternatives():
    either = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert validate(either, "x", "f") == []
    assert [cause.reason for cause in validate(either, True, "f")] == ["FieldValueInvalid"]


def test_rules_judge_numbers_of_any_size_and_only_what_changed():
    spec = {"type": "object", "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}}}
    spec["x-kubernetes-validations"] = [{"rule": "self.low <= self.high", "message": "low above high"}]
    schema = {"type": "object", "properties": {"spec": spec}}

    def told(low, high, old=None):
        obj = {"metadata": {"name": "w"}, "spec": {"low": low, "high": high}}
        before = None if old is None else {**obj, "spec": old}
        return [cause.message for cause in check_custom(schema, obj, before)]

    assert told(1, 2) == []
    assert told(2, 1) == ["Invalid value: low above high"]
    assert told(2, 1, old={"low": 2, "high": 1}) == []
    (beyond,) = told(10**30, 1)
    assert beyond.startswith("Invalid value: rule evaluation error")
