"""The part of JSONPath that printer columns and scale paths use: .a.b, ['a.b'], [0], [*], [?(@.type=="Ready")]."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(
    r"""\.(?P<name>(?:[^.\[\]\\]|\\.)+)
      | \[(?P<index>-?\d+)\]
      | \[(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)+)(?P=quote)\]
      | \[\?\(\s*@\.(?P<field>[\w.]+)\s*==\s*(?P<q2>['"])(?P<value>.*?)(?P=q2)\s*\)\]
      | (?P<all>\[\*\])""",
    re.VERBOSE,
)
Step = Callable[[list[Any]], list[Any]]


def _named(name: str) -> Step:
    return lambda found: [item[name] for item in found if isinstance(item, dict) and item.get(name) is not None]


def _at(index: int) -> Step:
    return lambda found: [item[index] for item in found if isinstance(item, list) and -len(item) <= index < len(item)]


def _where(field: str, value: str) -> Step:
    def step(found: list[Any]) -> list[Any]:
        items = [item for each in found if isinstance(each, list) for item in each]
        return [item for item in items if isinstance(item, dict) and str(item.get(field)) == value]

    return step


def _every(found: list[Any]) -> list[Any]:
    return [item for each in found for item in (each.values() if isinstance(each, dict) else each)]


@lru_cache(maxsize=512)
def _compile(path: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    at = 0
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"unsupported JSONPath {path!r} at {text[at:]!r}")
        if found["name"] is not None:
            steps.append(_named(re.sub(r"\\(.)", r"\1", found["name"])))
        elif found["quoted"] is not None:
            steps.append(_named(re.sub(r"\\(.)", r"\1", found["quoted"])))
        elif found["index"] is not None:
            steps.append(_at(int(found["index"])))
        elif found["field"] is not None:
            steps.append(_where(found["field"], found["value"]))
        else:
            steps.append(_every)
        at = found.end()
    return tuple(steps)


def find_all(path: str, tree: Any) -> list[Any]:
    """All values at `path`; none when a step is missing. Raises ValueError for what is not understood."""
    found = [tree]
    for step in _compile(path):
        found = step(found)
    return found
