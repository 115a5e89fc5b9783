"""apportion explain: what a job has, why not more, what would give it more, why not elsewhere."""

import time

import click

from apportion.cli.progress import progress
from apportion.cli.source import Read, Source, fail, read
from apportion.cli.whatif import shown
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Decision, Outcome
from apportion.optimizer import RowUse, Step
from apportion.planner.decide import concluded, wanted
from apportion.planner.elsewhere import elsewhere
from apportion.planner.explain import UNSERVED
from apportion.planner.searching import Wanted
from apportion.planner.worth import GoOn, Search, next_step, one_change

PREFIXES = ("tj", "trainingjob", "trainingjobs", "trainingjobs.apportion.dev")
MOST_LINES = 8
MOST_ROWS = 3
PATIENCE_SECONDS = 30.0  # after which no change is tried any more: in a large cluster each takes many
AS_MUCH = 1e-6  # prices are the gains of somebody's steps: a job's own step may be the one that set them


def explain_command(source: Source, namespace: str, job: str) -> None:
    prefix, slash, name = job.rpartition("/")
    if slash and prefix.lower() not in PREFIXES:
        fail(f"{job!r}: expected tj/NAME")
    got = read(source)
    key = JobKey(namespace, name)
    if all(job.key != key for job in got.snapshot.jobs):
        fail(f"there is no TrainingJob {name!r} in namespace {namespace!r}")
    with progress() as bar:
        task = bar.add_task("planning", total=None)
        found = wanted(got.snapshot, got.policy)
        decision = concluded(got.snapshot, got.policy, found)
        outcome = next(outcome for outcome in decision.outcomes if outcome.key == key)
        until = time.monotonic() + PATIENCE_SECONDS

        def go_on(made: int, tries: int) -> bool:
            bar.update(task, description="changes tried", total=tries, completed=made)
            return made == 0 or time.monotonic() < until

        lines = explanation(got, found, decision, outcome, go_on)
    for line in lines:
        click.echo(line)


def explanation(got: Read, found: Wanted, decision: Decision, outcome: Outcome, go_on: GoOn) -> list[str]:
    """At most eight lines: now, the plan, why, the next step, what would change it, elsewhere, how good the plan is."""
    job = next(job for job in found.snapshot.jobs if job.key == outcome.key)
    asked = next(job for job in got.snapshot.jobs if job.key == outcome.key)
    lines = [f"TrainingJob {outcome.key}: {outcome.memory.phase}"]
    lines.append(
        f"  now:       {shown(outcome.current)} (asks {asked.minimum} to {asked.maximum}, {job.per_replica} each)"
    )
    if outcome.target != outcome.current:
        lines.append(f"  planned:   {shown(outcome.target)}")
    lines.append(f"  why:       {outcome.reason}: {outcome.message}")
    if outcome.target.replicas < job.maximum:
        step = next_step(found, got.policy, job.key)
        if step is not None:
            lines.append(f"  next step: {step_sentence(job, outcome, step)}")
        elif outcome.target.replicas and outcome.reason in UNSERVED:
            lines.append("  next step: no larger size gains anything, after the restart that it costs")
    searched = one_change(got.snapshot, got.policy, found, job.key, go_on)
    if searched.tried:
        lines.append(f"  more with: {change_sentence(outcome, searched)}")
    others = elsewhere(found, asked)
    lines += [f"  elsewhere: {line}" for line in others[: MOST_LINES - 1 - len(lines)]]
    plan = decision.plan
    lines.append(f"  plan:      {plan.status}; no plan for all jobs can be more than {plan.gap:.2%} better")
    return lines


def step_sentence(job: Job, outcome: Outcome, step: Step) -> str:
    """What the next size gains against what it takes from others, by what it uses."""
    more = (step.grant.replicas - outcome.target.replicas) * job.per_replica
    said = f"{step.grant.replicas} replicas ({more} more {step.grant.flavor}) gain {step.gain:.3g}"
    if step.gain < step.price * (1 - AS_MUCH):
        priced = sorted((row for row in step.rows if row.price > 0), key=lambda row: -row.price)
        alone = len(priced) == 1
        parts = " + ".join(
            ("" if alone else f"{row.price:.3g} ") + f"for {row_words(row)}" for row in priced[:MOST_ROWS]
        )
        return f"{said}; others would lose {step.price:.3g} ({parts})"
    if not step.fits:
        parts = " and ".join(row_words(row) for row in step.rows if row.missing)
        return f"{said}; others would lose {step.price:.3g}: worth it, but it does not fit whole ({parts})"
    return f"{said}; others would lose {step.price:.3g}: worth it, but not more than a plan may miss or save in changes"


def row_words(row: RowUse) -> str:
    """A row of the program as people call it."""
    kind, _, rest = row.row.partition("/")
    first, _, second = rest.partition("/")
    match kind:
        case "packing":
            return "the free room does not lie together on nodes"
        case "capacity":
            return f"{_shape(second)} on {first.partition('.')[0]} nodes"
        case "quota":
            return f"quota of queue {first} for {second}"
        case "cohort":
            return f"quota of cohort {first} for {second}"
        case "ceiling":
            return f"what queue {first} may borrow of {second}"
        case "nominal":
            return f"nominal quota of queue {first} for {second} (it is not preemptible)"
        case "budget":
            return f"the budget of {f'queue {first}' if first else 'the cluster'}"
        case "power":
            return f"the power cap of {f'queue {first}' if first else 'the cluster'}"
        case _:
            return row.row


def _shape(block: str) -> str:
    """What a capacity row counts: accelerators, blocks of several on one node, another resource, or whole pods."""
    size, plus, others = block.partition("+")
    if "=" in size:
        return size.partition("=")[0]
    room = "room" if size == "1" else f"room in blocks of {size}"
    names = ", ".join(other.partition("=")[0] for other in others.split("+"))
    return f"{room} with {names}" if plus else room


def change_sentence(outcome: Outcome, searched: Search) -> str:
    """The one change, in the words that `plan --what-if` takes."""
    found = searched.remedy
    if found is None:
        (first, *_), count = searched.tried[0], len(searched.tried)
        alone = f'not "{first}" alone' if count == 1 else f"none of {count} changes that were tried"
        if searched.left:
            alone += f"; after {PATIENCE_SECONDS:g} s there was no time for {searched.left} more"
        return f"{alone}; try several together with plan --what-if"
    had = shown(outcome.target) if outcome.target.replicas else "nothing"
    asked = " with ".join(f'"{change}"' for change in found.changes)
    gives = f"{asked} gives it {shown(found.grant)} instead of {had}"
    return f"{gives} (certain: solved again)" if found.certain else f"{gives} (undetermined: too close to tell)"
