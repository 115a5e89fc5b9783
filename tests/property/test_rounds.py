"""Recorded rounds: nothing is lost on the way into a file and back, and what is read decides the same."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apportion.api.history import read_round, write_round
from apportion.api.plain import plain, typed
from apportion.model.curves import Points, Usl
from apportion.model.jobs import Backoff, Block, Condition, FlavorChoice, Job, Pod, Workload
from apportion.model.policy import ChurnBudget, Objective, Policy, QueueChurn, Shadow, SolverLimits, Stability
from apportion.model.resources import Amounts
from apportion.model.rounds import Round
from apportion.model.selection import NodeChoice, Requirement, Taint, Toleration
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.shadow import shadowed
from property.test_decide import advance, worlds
from property.test_optimizer import snapshots

PROFILE = settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

POLICIES = st.builds(
    Policy,
    objective=st.builds(Objective, st.sampled_from((-0.5, 0.0, 1.0)), st.sampled_from((0.2, 2.0))),
    stability=st.builds(
        Stability,
        st.sampled_from((0.0, 0.1)),
        churn=st.sampled_from((ChurnBudget(), ChurnBudget(60.0, (QueueChurn("*", 30.0),)))),
    ),
    shadows=st.sampled_from(((), (Shadow("linear", Objective(1.0)),))),
)
NUMBERS = st.one_of(st.floats(), st.integers(-(10**12), 10**12))
TEXT = st.text(max_size=8)
AMOUNTS: st.SearchStrategy[Amounts] = st.dictionaries(TEXT, st.integers(-(2**60), 2**60), max_size=3)
FLAGS = st.booleans()


def recorded(round_: Round) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        return read_round(write_round(Path(folder), round_, 10**9))


def same(one: object, other: object) -> bool:
    """Equal, and NaN is NaN. A set says itself in an order that changes with every run: its text proves nothing."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if type(one) is not type(other) or one == other:
        return one == other
    if is_dataclass(one) and is_dataclass(other):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return False


@PROFILE
@given(world=worlds(), policy=POLICIES, seed=st.integers(0, 10**6))
def test_a_recorded_round_decides_the_same(world: Snapshot, policy: Policy, seed: int) -> None:
    """Also after some rounds, with pods that run, wait and leave, and from the prices of the round before."""
    random = Random(seed)
    prices: dict[str, float] = {}
    for _ in range(3):
        asked = replace(world, prices=prices)
        decision = decide(asked, policy)
        found = recorded(Round(asked, policy, decision, leader="one", shadows=shadowed(asked, policy)))
        assert (found.snapshot, found.policy, found.decision) == (asked, policy, decision)
        assert decide(found.snapshot, found.policy) == decision
        assert shadowed(found.snapshot, found.policy) == found.shadows
        prices = {row.row: row.price for row in decision.plan.row_prices}
        world, _ = advance(world, random)


@PROFILE
@given(world=snapshots(flavors=2), policy=POLICIES)
def test_what_only_the_planner_writes_into_a_snapshot_is_kept_too(world: Snapshot, policy: Policy) -> None:
    settled = wanted(world, policy).snapshot
    found = typed(Snapshot, plain(Snapshot, settled))
    assert (found.terms, found.ceilings, found) == (settled.terms, settled.ceilings, settled)


@st.composite
def strange(draw: st.DrawFn) -> Snapshot:
    """Every field of what stands in a snapshot, with values that no cluster has."""
    world = draw(worlds())
    jobs = tuple(replace(one, **draw(changes())) for one in world.jobs)
    nodes = tuple(
        replace(
            one,
            flavor=draw(st.one_of(st.none(), TEXT)),
            foreign=draw(AMOUNTS),
            labels=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
            taints=draw(st.sampled_from(((), (Taint("a", "b", "NoExecute"),)))),
            broken=draw(st.integers(0, 3)),
        )
        for one in world.nodes
    )
    return replace(
        world,
        now=draw(st.floats(0, 4e9)),
        jobs=jobs,
        nodes=nodes,
        flavors=tuple(replace(f, price_per_hour=draw(NUMBERS), watts=draw(st.one_of(st.none(), NUMBERS)),
                              tolerations=(Toleration("a", "Exists"),)) for f in world.flavors),
        ceilings=(Ceiling("a", "h100", draw(st.integers(0, 9))),),
        terms={one.key: Terms(barred=frozenset(draw(st.sets(TEXT, max_size=3)))) for one in jobs},
        prices=draw(st.dictionaries(TEXT, NUMBERS, max_size=3)),
        grace=draw(st.dictionaries(TEXT, NUMBERS, max_size=2)),
        warnings=tuple(draw(st.lists(TEXT, max_size=2))),
    )  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> dict[str, object]:
    pod = Pod(
        draw(TEXT), draw(TEXT), draw(st.one_of(st.none(), TEXT)), draw(AMOUNTS), draw(NUMBERS),
        exit_code=draw(st.one_of(st.none(), st.integers(-1, 255))), ready_since=draw(st.one_of(st.none(), NUMBERS)),
    )  # fmt: skip
    memory = {
        "backoff": (Backoff("h100", 2, draw(NUMBERS)),),
        "conditions": (Condition("Admitted", draw(FLAGS), "Why", draw(TEXT), draw(NUMBERS)),),
        "reverts": tuple(draw(st.lists(NUMBERS, max_size=2))),
    }
    base = Job.__dataclass_fields__["memory"].default_factory()  # type: ignore[misc]
    return {
        "pods": (pod,),
        "memory": replace(base, **memory),
        "curve": draw(st.sampled_from((Usl(2.0, 0.1, math.inf), Points(((1, 1.0), (3, math.nan)))))),
        "block": draw(st.sampled_from((None, Block("Invalid", "é\n\u2028\ud7ff")))),
        "workload": draw(st.sampled_from((None, Workload("w", "u", 3, True, decision="7")))),
        "flavors": draw(st.sampled_from((None, (), (FlavorChoice("h100", 0.5), FlavorChoice("x"))))),
        "nodes": NodeChoice((("a", "b"),), ((Requirement("k", "Gt", ("1",)),),), (), (Toleration(),)),
        "queue_name": draw(st.one_of(st.none(), TEXT)),
        "namespace_labels": draw(st.dictionaries(TEXT, TEXT, max_size=2)),
    }


@PROFILE
@given(world=strange())
def test_every_field_comes_back_whatever_it_holds(world: Snapshot) -> None:
    policy = Policy(solver=SolverLimits(methods=("greedy",)))
    small = replace(world, jobs=(), nodes=(), terms={}, ceilings=())
    found = recorded(Round(world, policy, decide(small, policy), "fifo", "me", "0.1.0"))
    assert same(found.snapshot, world)
    assert (found.rule, found.leader, found.written_by, found.policy) == ("fifo", "me", "0.1.0", policy)
