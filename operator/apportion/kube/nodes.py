"""Nodes with their flavor, and what others hold on them. Where nobody can tell what is free, what runs stays."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from apportion.kube.facts import NodeFacts, PodFacts
from apportion.kube.flavors import NEURON_NAMES, classify, counted_twice
from apportion.model.flavors import Flavor, Node
from apportion.model.resources import plus


@dataclass(frozen=True, slots=True)
class Landscape:
    """All nodes in name order, the flavors that they have, and what is to be said about some."""

    nodes: tuple[Node, ...]
    flavors: tuple[Flavor, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Held:
    """What the pods of one node hold: those of others their requests; anybody's, accelerators claimed through DRA or
    counted under a name that is not the flavor's."""

    foreign: dict[str, int] = field(default_factory=dict)
    claimed: bool = False
    names: set[str] = field(default_factory=set)


def landscape(
    nodes: Iterable[NodeFacts], pods: Iterable[tuple[PodFacts, bool]], catalog: Sequence[Flavor]
) -> Landscape:
    """The nodes with what `pods` hold on them; with each pod: is it foreign, nobody's that we divide for?"""
    held: dict[str, _Held] = defaultdict(_Held)
    for pod, foreign in pods:
        if pod.holds is None:
            continue
        there = held[pod.holds]
        there.claimed |= pod.claims
        there.names |= {name for name in pod.pod.requests.keys() & NEURON_NAMES if pod.pod.requests[name] > 0}
        if foreign:
            there.foreign = plus(there.foreign, pod.pod.requests)
    found, flavors, warnings = [], {}, []
    for facts in sorted(nodes, key=lambda node: node.name):
        node, flavor, said = _node(facts, held.get(facts.name, _Held()), catalog)
        found.append(node)
        warnings += [f"node {facts.name}: {text}" for text in said]
        if flavor is not None:
            flavors[flavor.name] = flavor
    return Landscape(tuple(found), tuple(flavors.values()), tuple(warnings))


def _node(facts: NodeFacts, held: _Held, catalog: Sequence[Flavor]) -> tuple[Node, Flavor | None, list[str]]:
    found = classify(facts.allocatable or facts.capacity, facts.labels, catalog)
    flavor, why_not = found.flavor, found.why_not
    if flavor is not None:
        why_not = _untold(flavor, held)
    broken = _broken(facts, flavor)
    warnings = [why_not] if why_not else []
    if flavor is not None and broken:
        warnings.append(f"{broken} of its {flavor.resource} are not healthy")
    node = Node(
        name=facts.name,
        flavor=flavor.name if flavor else None,
        allocatable=facts.allocatable,
        foreign=held.foreign,
        labels=facts.labels,
        taints=facts.taints,
        placeable=facts.placeable and not why_not,
        why_not=why_not or facts.why_not,
        uid=facts.uid,
        created=facts.created,
        broken=broken,
    )
    return node, flavor, warnings


def _untold(flavor: Flavor, held: _Held) -> str:
    """Why what is free of a flavor on its node cannot be told; else empty."""
    return "its accelerators are claimed through DRA" if held.claimed else counted_twice(flavor, held.names)


def _broken(facts: NodeFacts, flavor: Flavor | None) -> int:
    if flavor is None or flavor.resource == "cpu":
        return 0
    return max(0, facts.capacity.get(flavor.resource, 0) - facts.allocatable.get(flavor.resource, 0))
