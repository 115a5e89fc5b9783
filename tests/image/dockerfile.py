"""A Dockerfile as data: its stages and their steps. What this repository's Dockerfile does not use is refused, so a new
instruction there is seen here and never left out in silence."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SAID_ONLY = {"LABEL", "EXPOSE"}
"""They change nothing that a process meets."""


class NoImage(Exception):
    """No image can be made here; the message says why."""


@dataclass(frozen=True)
class Step:
    """One instruction. `words`: of RUN the shell's line alone; of COPY sources and then the target; of ENV name=value;
    of ENTRYPOINT and CMD the command. `source`: the stage that a COPY reads, None for the build context."""

    instruction: str
    words: tuple[str, ...]
    source: str | None = None


@dataclass(frozen=True)
class Stage:
    base: str
    name: str
    steps: tuple[Step, ...]


def parse(text: str) -> list[Stage]:
    """The stages in their order. Raises NoImage."""
    stages: list[Stage] = []
    for line in _instructions(text):
        instruction, _, rest = line.partition(" ")
        instruction = instruction.upper()
        if instruction == "FROM":
            base, *named = rest.split()
            if named and named[0].upper() != "AS":
                raise NoImage(f"the Dockerfile's line is not understood: {line}")
            stages.append(Stage(base, named[1] if named else "", ()))
        elif not stages:
            raise NoImage(f"the Dockerfile has this before its first FROM: {line}")
        elif instruction not in SAID_ONLY:
            last = stages.pop()
            stages.append(Stage(last.base, last.name, (*last.steps, _step(instruction, rest.strip()))))
    return stages


def _instructions(text: str) -> Iterator[str]:
    """Each instruction in one line; comments go, also those within an instruction."""
    held = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        held += line
        if held.endswith("\\"):
            held = held[:-1]
            continue
        yield held.strip()
        held = ""


def _step(instruction: str, rest: str) -> Step:
    match instruction:
        case "RUN":
            if rest.startswith(("--", "[")):
                raise NoImage(f"only RUN with a line for the shell is followed, not: RUN {rest}")
            return Step("RUN", (rest,))
        case "COPY":
            words = rest.split()
            source = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
            if any(word.startswith("--") for word in words):
                raise NoImage(f"this option is not followed: COPY {rest}")
            return Step("COPY", tuple(words), source)
        case "ENV":
            return Step("ENV", tuple(shlex.split(rest)))
        case "WORKDIR" | "USER":
            return Step(instruction, (rest,))
        case "ENTRYPOINT" | "CMD":
            return Step(instruction, tuple(json.loads(rest)))
    raise NoImage(f"this instruction is not followed: {instruction} {rest}")


def expanded(value: str, environment: Mapping[str, str]) -> str:
    """With $NAME and ${NAME} replaced, as in ENV, WORKDIR and COPY."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: environment.get(found[1] or found[2], ""), value)
