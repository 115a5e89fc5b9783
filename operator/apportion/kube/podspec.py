"""What a pod spec asks of a node, as the scheduler counts it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from apportion.kube.raw import LARGEST, Raw, amounts, at, fingerprint, mapping, mappings, quantity, text, texts
from apportion.model.resources import CPU, PODS, Amounts, plus
from apportion.model.selection import ANY_NODE, NodeChoice, Requirement, Taint, Toleration

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
NODE_AFFINITY = ("affinity", "nodeAffinity", REQUIRED)
MOST_TERMS = 64
MOST_CHARACTERS = 65_536


@dataclass(frozen=True, slots=True)
class Asked:
    """What a snapshot needs of a pod spec. `requests` counts one pod; `nodes` has no requirements beside the spec.

    malformed: the first thing in it that cannot be read, with its place in the spec; "": nothing.
    """

    requests: Amounts
    nodes: NodeChoice
    unmodelled: tuple[str, ...]
    priority_class: str
    malformed: str


def asked(spec: Raw) -> Asked:
    """Pods of one shape share one answer: a cluster has thousands of jobs, and few shapes."""
    return _asked(json.dumps(spec, default=str))


@lru_cache(maxsize=1024)
def _asked(spec: str) -> Asked:
    raw: Any = json.loads(spec)
    wrong = beyond_bounds(raw)
    nodes = ANY_NODE if wrong else node_choice(raw)
    return Asked(
        requests(raw), nodes, tuple(unmodelled(raw)), text(raw, "priorityClassName"), wrong or malformed_resource(raw)
    )


@dataclass(frozen=True, slots=True)
class Template:
    """An embedded pod template, as text: thousands of parsed ones are many times larger, and are seldom rendered."""

    text: str
    hash: str
    asked: Asked

    def parsed(self) -> dict[str, Any]:
        return dict(json.loads(self.text))


def template_of(raw: Raw) -> Template:
    return _template(json.dumps(raw, default=str))


@lru_cache(maxsize=1024)
def _template(text_: str) -> Template:
    raw = json.loads(text_)
    return Template(text_, fingerprint(raw), asked(mapping(raw, "spec")))


def requests(spec: Raw) -> dict[str, int]:
    """One pod's requests: containers and sidecars together, or an init container at its turn if that is more; overhead.

    As in the scheduler (KEP-753): a restartable init container (sidecar) counts from its turn on.
    """
    running: Amounts = {}
    for container in mappings(spec, "containers"):
        running = plus(running, of_container(container))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in mappings(spec, "initContainers"):
        asked = of_container(container)
        if text(container, "restartPolicy") == "Always":
            sidecars = plus(sidecars, asked)
            starting = most(starting, sidecars)
        else:
            starting = most(starting, plus(sidecars, asked))
    needed = plus(most(plus(running, sidecars), starting), amounts(spec, "overhead"))
    return {**needed, PODS: 1}


def of_container(container: Raw) -> dict[str, int]:
    """Requests, and limits where nothing is requested: the API server's default, which a template in a file lacks."""
    return {**amounts(container, "resources", "limits"), **amounts(container, "resources", "requests")}


def beyond_bounds(spec: Raw) -> str:
    """What is asked of nodes is looked up for every node in every round, for every job: it has a bound."""
    terms = len(list(mappings(spec, *NODE_AFFINITY, "nodeSelectorTerms")))
    if terms > MOST_TERMS:
        return f"{'.'.join(NODE_AFFINITY)}.nodeSelectorTerms: expected at most {MOST_TERMS}, not {terms}"
    for name in ("affinity", "tolerations", "nodeSelector"):
        length = len(json.dumps(at(spec, name)))
        if length > MOST_CHARACTERS:
            return f"{name}: expected at most {MOST_CHARACTERS} characters as JSON, not {length}"
    return ""


def malformed_resource(spec: Raw) -> str:
    """The first resource that is none: where in the spec it is, and what was expected. "": all can be read."""
    lists = [("overhead", mapping(spec, "overhead"))]
    for kind in ("initContainers", "containers"):
        containers = at(spec, kind)
        for number, container in enumerate(containers if isinstance(containers, list) else ()):
            for part in ("requests", "limits"):
                lists.append((f"{kind}[{number}].resources.{part}", mapping(container, "resources", part)))
    for place, listed in lists:
        for name, value in listed.items():
            if expected := _expected(str(name), str(value)):
                return f"{place}.{name}: expected {expected}, not {str(value)[:40]!r}"
    return ""


def _expected(name: str, value: str) -> str:
    amount = quantity(name, value)
    if amount is None or amount < 0:
        return "a quantity such as 500m or 16Gi, not below 0"
    thousandths = quantity(CPU, value)
    if accelerator_resources({name: amount}) and amount < LARGEST and thousandths is not None and thousandths % 1000:
        return "a whole number"
    return ""


def most(left: Amounts, right: Amounts) -> dict[str, int]:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {*left, *right}}


def accelerator_resources(needed: Amounts) -> list[str]:
    """Extended resources: a name with a domain that is not Kubernetes' own."""
    return sorted(name for name in needed if "/" in name and not name.startswith("kubernetes.io/"))


def node_choice(spec: Raw, extra: tuple[Requirement, ...] = ()) -> NodeChoice:
    """nodeSelector, required node affinity and tolerations; preferences do not count."""
    terms = list(mappings(spec, *NODE_AFFINITY, "nodeSelectorTerms"))
    return NodeChoice(
        selector=tuple(sorted(texts(spec, "nodeSelector").items())),
        alternatives=tuple(tuple(requirements(term)) for term in terms),
        requirements=extra,
        tolerations=tuple(toleration(raw) for raw in mappings(spec, "tolerations")),
    )


def requirements(term: Raw) -> Iterable[Requirement]:
    """matchFields knows only metadata.name: treated as the label that every node carries under that name."""
    for expression in (*mappings(term, "matchExpressions"), *mappings(term, "matchFields")):
        raw = mapping(expression).get("values")
        values = tuple(str(value) for value in raw) if isinstance(raw, list) else ()
        yield Requirement(text(expression, "key"), text(expression, "operator"), values)


def toleration(raw: Raw) -> Toleration:
    return Toleration(text(raw, "key"), text(raw, "operator") or "Equal", text(raw, "value"), text(raw, "effect"))


def taint(raw: Raw) -> Taint:
    return Taint(text(raw, "key"), text(raw, "value"), text(raw, "effect") or "NoSchedule")


def unmodelled(spec: Raw) -> list[str]:
    """Constraints that the program does not know: pods may stay Pending for their sake."""
    found = []
    if mapping(spec, "affinity", "podAntiAffinity").get(REQUIRED):
        found.append("required pod anti-affinity")
    if mapping(spec, "affinity", "podAffinity").get(REQUIRED):
        found.append("required pod affinity")
    if any(text(c, "whenUnsatisfiable") != "ScheduleAnyway" for c in mappings(spec, "topologySpreadConstraints")):
        found.append("topology spread constraints")
    if any(mapping(volume, "persistentVolumeClaim") for volume in mappings(spec, "volumes")):
        found.append("persistent volumes, which may be zonal")
    if any(
        mapping(port) and port.get("hostPort") for c in mappings(spec, "containers") for port in mappings(c, "ports")
    ):
        found.append("host ports")
    if list(mappings(spec, "resourceClaims")):
        found.append("resource claims (DRA)")
    return found
