"""Which nodes a pod may use: labels, node-affinity requirements, taints and tolerations."""

from collections.abc import Mapping
from dataclasses import dataclass

MOST_VALUES = 8


@dataclass(frozen=True)
class Requirement:
    """One node-affinity expression: operator is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As the scheduler reads it: a missing label satisfies NotIn and DoesNotExist only; Gt and Lt want integers."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt" if value is not None and len(self.values) == 1:
                try:
                    have, bound = int(value), int(self.values[0])
                except ValueError:
                    return False
                return have > bound if self.operator == "Gt" else have < bound
            case _:
                return False

    def __str__(self) -> str:
        """The first of many values will do: this ends in messages."""
        values = [*self.values[:MOST_VALUES], "..."] if len(self.values) > MOST_VALUES else self.values
        return f"{self.key} {self.operator} {','.join(values)}".strip()


@dataclass(frozen=True)
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True)
class Toleration:
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if not self.key:
            return self.operator == "Exists"
        if self.key != taint.key:
            return False
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True)
class NodeChoice:
    """What a pod template says of nodes: every selector pair, one of the alternatives (each a conjunction)."""

    selector: tuple[tuple[str, str], ...] = ()
    alternatives: tuple[tuple[Requirement, ...], ...] = ()
    requirements: tuple[Requirement, ...] = ()
    tolerations: tuple[Toleration, ...] = ()

    def labels_match(self, labels: Mapping[str, str]) -> bool:
        if any(labels.get(key) != value for key, value in self.selector):
            return False
        if not all(requirement.matches(labels) for requirement in self.requirements):
            return False
        return not self.alternatives or any(
            all(requirement.matches(labels) for requirement in terms) for terms in self.alternatives
        )

    def untolerated(self, taints: tuple[Taint, ...], extra: tuple[Toleration, ...] = ()) -> Taint | None:
        """The first taint that keeps the pod away; PreferNoSchedule never does."""
        for taint in taints:
            if taint.effect == "PreferNoSchedule":
                continue
            if not any(toleration.tolerates(taint) for toleration in (*self.tolerations, *extra)):
                return taint
        return None


ANY_NODE = NodeChoice()
