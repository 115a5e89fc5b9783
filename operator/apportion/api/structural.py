"""Structural OpenAPI schemas from the models, in the dialect of custom resource definitions.

pydantic writes JSON Schema with references, titles, unions with null and numeric exclusive bounds; the API server wants
everything in place, nothing nullable, and OpenAPI 3.0's boolean exclusive bounds.
"""

from typing import Any

from apportion.api.base import Wire

Schema = dict[str, Any]

_KEPT = (
    "type",
    "description",
    "default",
    "enum",
    "format",
    "pattern",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "not",
    "required",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)


def structural_schema(model: type[Wire]) -> Schema:
    """The schema of a kind, without apiVersion, kind and metadata, which are the API server's."""
    source = model.model_json_schema(by_alias=True)
    schema = _structural(source, source.get("$defs", {}))
    schema["properties"] = {
        "apiVersion": {"type": "string", "description": "The API group and version.", "maxLength": 64},
        "kind": {"type": "string", "description": "The kind of the object.", "maxLength": 64},
        # The API server describes metadata itself and refuses a description here.
        "metadata": {"type": "object"},
        **{name: part for name, part in schema["properties"].items() if name != "metadata"},
    }
    schema["required"] = [name for name in schema.get("required", []) if name != "metadata"]
    schema["properties"]["status"] = _without_defaults(schema["properties"]["status"])
    return schema


def _without_defaults(schema: Any) -> Any:
    """For the status: it must come back from the API server as the operator wrote it, or it looks changed."""
    if isinstance(schema, list):
        return [_without_defaults(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_defaults(part) for key, part in schema.items() if key != "default"}


def _structural(source: Schema, definitions: Schema) -> Schema:
    source = _resolved(source, definitions)
    schema = {key: source[key] for key in _KEPT if key in source}
    if isinstance(source.get("exclusiveMinimum"), int | float) and source["exclusiveMinimum"] is not True:
        schema |= {"minimum": source["exclusiveMinimum"], "exclusiveMinimum": True}
    if "const" in source:
        schema["enum"] = [source["const"]]
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if "properties" in source:
        schema["properties"] = {name: _structural(part, definitions) for name, part in source["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(source.get(key), dict):
            schema[key] = _structural(source[key], definitions)
    return _with_wire_default(schema)


def _resolved(source: Schema, definitions: Schema) -> Schema:
    """Without $ref and without the union with null: absent is how the wire says null."""
    if "$ref" in source:
        source = definitions[source["$ref"].rsplit("/", 1)[1]] | {k: v for k, v in source.items() if k != "$ref"}
    if "anyOf" in source:
        (wanted,) = (option for option in source["anyOf"] if option.get("type") != "null")
        source = wanted | {key: value for key, value in source.items() if key != "anyOf"}
        return _resolved(source, definitions)
    return source


def _with_wire_default(schema: Schema) -> Schema:
    """Scalars keep their default. A part is defaulted to {} where that lets a default inside it be seen."""
    default = schema.get("default")
    if default is None or isinstance(default, list) or default == "":
        schema.pop("default", None)
    elif isinstance(default, dict):
        if any("default" in part for part in schema.get("properties", {}).values()):
            schema["default"] = {}
        else:
            del schema["default"]
    return schema
