"""Amounts of node resources, as integers in the smallest unit that Kubernetes counts.

An `Amounts` maps a resource name to an int: cpu in millicores, memory and storage in bytes, pods and
accelerators in pieces. A missing name is zero.
"""

from collections.abc import Iterable, Mapping

Amounts = Mapping[str, int]

CPU = "cpu"
MEMORY = "memory"
PODS = "pods"


def plus(left: Amounts, right: Amounts) -> dict[str, int]:
    summed = dict(left)
    for name, amount in right.items():
        summed[name] = summed.get(name, 0) + amount
    return summed


def minus(left: Amounts, right: Amounts) -> dict[str, int]:
    """`left - right`; may go below zero where more is used than is allocatable (a device broke)."""
    rest = dict(left)
    for name, amount in right.items():
        rest[name] = rest.get(name, 0) - amount
    return rest


def total(many: Iterable[Amounts]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for amounts in many:
        for name, value in amounts.items():
            summed[name] = summed.get(name, 0) + value
    return summed


def times_fitting(free: Amounts, request: Amounts) -> int:
    """How many pods of `request` fit into `free`: min over the requested resources of floor(free / request)."""
    counts = [max(0, free.get(name, 0)) // amount for name, amount in request.items() if amount > 0]
    return min(counts, default=0)


def fits(free: Amounts, request: Amounts) -> bool:
    return all(free.get(name, 0) >= amount for name, amount in request.items() if amount > 0)
