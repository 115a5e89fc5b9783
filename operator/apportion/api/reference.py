"""The reference of the custom resources, from their schemas: what `kubectl explain` says, on a page for each kind."""

from collections.abc import Iterator
from typing import Any

from apportion.api.crds import RESOURCES, Resource
from apportion.api.names import API_VERSION, TRAINING_JOB
from apportion.api.scalars import LARGEST
from apportion.api.structural import Schema, structural_schema

_RIGHTS = """## Who may create one

The right to create TrainingJobs in a namespace equals the right to create Deployments in that namespace: a `template`
becomes one, with any image, service account and volume that the namespace offers. Grant it to the same people. A
`workloadRef` reaches only Deployments that carry the label `apportion.dev/managed: "true"`.
"""


def reference_pages() -> dict[str, str]:
    """Text by file name, the same for the same models."""
    return {f"{resource.kind.lower()}.md": _page(resource) for resource in RESOURCES}


def _page(resource: Resource) -> str:
    schema = structural_schema(resource.model)
    scope = "namespaced" if resource.namespaced else "cluster-scoped"
    sections = [
        f"# {resource.kind}\n",
        f"<!-- Generated from the models: change those, not this file. -->\n\n{schema['description']}\n\n"
        f"`{API_VERSION}`, {scope}, short name `{resource.short}`. Unknown fields are pruned by the API server.\n",
    ]
    if resource.kind == TRAINING_JOB:
        sections.append(_RIGHTS)
    sections += [_table(part, schema["properties"][part]) for part in ("spec", "status")]
    if rules := list(_rules(schema, "")):
        sections.append("## Rules across fields\n\n" + "".join(f"- {where}: {said}.\n" for where, said in rules))
    return "\n".join(sections)


def _table(part: str, schema: Schema) -> str:
    rows = "".join(
        f"| `{path}` | {_type(field)} | {_allowed(field)} | {_default(field)} | {_text(field)} |\n"
        for path, field in _fields(schema, part)
    )
    return (
        f"## {part}\n\n{schema['description']} Fields in bold type are required.\n\n"
        f"| field | type | allowed | default | meaning |\n|---|---|---|---|---|\n{rows}"
    ).replace("| `**", "| **`").replace("**` |", "`** |")  # fmt: skip


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Depth first, in the order of the models; items of lists as path[]."""
    for name, field in schema.get("properties", {}).items():
        below = f"{path}.{name}"
        yield (f"**{below}**" if name in schema.get("required", ()) else below), field
        yield from _fields(field, below)
        yield from _fields(field.get("items", {}), f"{below}[]")


def _type(field: Schema) -> str:
    match field:
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}s"
        case {"type": "object", "additionalProperties": values}:
            return f"map to {_type(values)}s"
        case {"format": "date-time"}:
            return "time"
        case {"type": kind}:
            return str(kind)
        case _:
            return "number or decimal string"


def _allowed(field: Schema) -> str:
    inner = field.get("items", field)
    if "enum" in inner:
        return ", ".join(f"`{value}`" for value in inner["enum"])
    if field.get("maximum") == LARGEST:
        return f"{'above' if field.get('exclusiveMinimum') else 'at least'} {_number(field['minimum'])}"
    if "minimum" in field:
        above = "above " if field.get("exclusiveMinimum") else ""
        return f"{above}{_number(field['minimum'])} to {_number(field['maximum'])}"
    if "maxItems" in field and "type" in field:
        return f"{field.get('minItems', 0)} to {field['maxItems']} items"
    if "maxLength" in field and field.get("format") != "date-time":
        return f"at most {field['maxLength']} characters"
    return ""


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default(field: Schema) -> str:
    default: Any = field.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _text(field: Schema) -> str:
    return str(field["description"]).replace("|", "\\|")


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield (f"`{path}`" if path else "the object"), rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
