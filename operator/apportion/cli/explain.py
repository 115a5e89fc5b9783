"""apportion explain: what a job has, why not more, why not elsewhere."""

import click

from apportion.cli.source import Source, fail, read
from apportion.cli.whatif import shown
from apportion.model.jobs import JobKey
from apportion.model.plan import Decision, Outcome
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.planner.elsewhere import elsewhere

PREFIXES = ("tj", "trainingjob", "trainingjobs", "trainingjobs.apportion.dev")


def explain_command(source: Source, namespace: str, job: str) -> None:
    prefix, slash, name = job.rpartition("/")
    if slash and prefix.lower() not in PREFIXES:
        fail(f"{job!r}: expected tj/NAME")
    got = read(source)
    decision = decide(got.snapshot, got.policy)
    key = JobKey(namespace, name)
    outcome = next((outcome for outcome in decision.outcomes if outcome.key == key), None)
    if outcome is None:
        fail(f"there is no TrainingJob {name!r} in namespace {namespace!r}")
    for line in explanation(got.snapshot, decision, outcome):
        click.echo(line)


def explanation(snapshot: Snapshot, decision: Decision, outcome: Outcome) -> list[str]:
    """At most eight lines: now, the plan, why, elsewhere, how good the whole plan is."""
    job = next(job for job in snapshot.jobs if job.key == outcome.key)
    lines = [f"TrainingJob {outcome.key}: {outcome.memory.phase}"]
    lines.append(f"  now:       {shown(outcome.current)} (asks {job.minimum} to {job.maximum}, {job.per_replica} each)")
    if outcome.target != outcome.current:
        lines.append(f"  planned:   {shown(outcome.target)}")
    lines.append(f"  why:       {outcome.reason}: {outcome.message}")
    lines += [f"  elsewhere: {line}" for line in elsewhere(snapshot, decision, job)[:3]]
    plan = decision.plan
    lines.append(f"  plan:      {plan.status}; no plan for all jobs can be more than {plan.gap:.2%} better")
    return lines
