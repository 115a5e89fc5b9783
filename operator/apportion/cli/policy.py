"""Another policy for a recorded round: a rule by its name, or an AllocationPolicy from a file."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from apportion.api.dump import InputError, load_objects
from apportion.api.names import ALLOCATION_POLICY
from apportion.baselines import BASELINES, UNCERTIFIED
from apportion.cli.source import fail
from apportion.kube.policies import policy_of
from apportion.model.flavors import Flavor
from apportion.model.policy import Policy
from apportion.model.rounds import PROGRAM
from apportion.model.snapshot import Snapshot
from apportion.optimizer import solve
from apportion.planner.searching import Solve

RULES: Mapping[str, Solve] = {PROGRAM: solve, **BASELINES}
PLAYED: Mapping[str, Solve] = {PROGRAM: solve, **UNCERTIFIED}
"""For many rounds, of which nobody asks how far from the best they were."""


@dataclass(frozen=True)
class Other:
    """`policy` None: the recorded one, under another rule."""

    name: str
    rule: Solve = solve
    policy: Policy | None = None

    def applied(self, snapshot: Snapshot, recorded: Policy) -> tuple[Snapshot, Policy]:
        """What this policy would have been asked: its flavors' speeds, prices and watts count. Which flavor a node
        carries, and which jobs could be read, was settled when the round was recorded."""
        if self.policy is None:
            return snapshot, replace(recorded, shadows=())
        said = {flavor.name: flavor for flavor in self.policy.flavors}
        flavors = tuple(_as_said(flavor, said.get(flavor.name)) for flavor in snapshot.flavors)
        return replace(snapshot, flavors=flavors), replace(self.policy, shadows=())


def _as_said(flavor: Flavor, said: Flavor | None) -> Flavor:
    if said is None:
        return flavor
    return replace(
        flavor,
        speed=said.speed,
        price_per_hour=said.price_per_hour,
        watts=said.watts,
        idle_watts=said.idle_watts,
    )


def other_policy(text: str, rules: Mapping[str, Solve] = RULES) -> Other:
    """One of the rules by name, else the one AllocationPolicy of a file. What is neither ends with code 2."""
    if text.lower() in rules:
        return Other(text.lower(), rules[text.lower()])
    try:
        loaded = load_objects([text], sys.stdin)
    except InputError as error:
        fail(f"--policy: expected one of {', '.join(rules)}, or a file with an AllocationPolicy: {error.message}")
    policies = loaded.of_kind(ALLOCATION_POLICY)
    if len(policies) != 1:
        fail(f"--policy {text}: expected one AllocationPolicy, found {len(policies)}")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return Other(Path(text).name, solve, policy_of(policies[0]))
