"""apportion top: flavors, queues, jobs and prices, with what they cost and draw."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from apportion.assessment.holding import IDLE, JOBS, OTHERS, holdings, queue_name
from apportion.assessment.metering import Draw, charge_of, draws
from apportion.cli.source import CannotRead, Read, Source, attempt, read
from apportion.cli.tables import console, table
from apportion.cli.whatif import shown
from apportion.model.jobs import JobKey
from apportion.model.plan import Decision, Outcome
from apportion.planner import decide

FLAVORS = ("FLAVOR", "NODES", "ACCELERATORS", "JOBS", "OTHERS", "IDLE", "COST/H", "WATTS", "PRICE")
QUEUES = ("QUEUE", "FLAVOR", "NOMINAL", "HELD", "PLAN", "COST/H", "WATTS", "PRICE")
TRAINING = ("JOB", "QUEUE", "PHASE", "NOW", "PLAN", "COST/H", "WATTS", "REASON")
LINES_AROUND = 8  # headers and empty lines


def top_command(source: Source, once: bool, interval: float) -> None:
    out = console()
    got = read(source)
    if once or source.files or not out.is_terminal:
        out.print(view(got))
        return
    try:
        _watch(source, got, out, interval)
    except KeyboardInterrupt:
        return


def _watch(source: Source, got: Read, out: Console, interval: float) -> None:
    """Until interrupted. What cannot be read is said below the last that could."""
    with Live(console=out, screen=True, auto_refresh=False) as live:
        problem = ""
        while True:
            whole: RenderableType = view(got, out.height)
            live.update(Group(Text(f"not current: {problem}"), whole) if problem else whole, refresh=True)
            time.sleep(interval)
            try:
                got, problem = attempt(source), ""
            except CannotRead as error:
                problem = str(error)


def view(got: Read, height: int | None = None) -> RenderableType:
    """All tables; with a height only as many jobs as there is room for, those that hold most first."""
    decision = decide(got.snapshot, got.policy)
    held = draws(got.snapshot)
    prices = {(price.flavor, price.queue): price.price for price in decision.plan.prices}
    flavors, queues = list(flavor_rows(got, held, prices)), list(queue_rows(decision, held))
    jobs = list(job_rows(got, decision))
    left = len(jobs) if height is None else max(1, height - len(flavors) - len(queues) - LINES_AROUND)
    more = f"... and {len(jobs) - left} more jobs" if len(jobs) > left else ""
    parts = [_head(got, decision, held), table(FLAVORS, flavors)]
    parts += [Text(""), table(QUEUES, queues)] if queues else []
    parts += [Text(""), table(TRAINING, jobs[:left])] if jobs else []
    return Group(*parts, *([Text(more)] if more else []))


def _head(got: Read, decision: Decision, held: Sequence[Draw]) -> RenderableType:
    at = datetime.fromtimestamp(got.snapshot.now, UTC).isoformat(timespec="seconds")
    cost, power = _sums(held)
    gap = f"{decision.plan.status}, gap {decision.plan.gap:.2%}"
    return Text(f"{at}  mode {got.policy.mode}, plan {gap}; {cost} per hour, {power} W in all\n")


def flavor_rows(got: Read, held: Sequence[Draw], prices: dict[tuple[str, str], float]) -> Iterator[tuple[str, ...]]:
    for flavor in got.snapshot.flavors:
        mine = [draw for draw in held if draw.flavor == flavor.name]
        counts = [sum(draw.accelerators for draw in mine if draw.use == use) for use in (JOBS, OTHERS, IDLE)]
        nodes = sum(1 for node in got.snapshot.nodes if node.flavor == flavor.name)
        price = f"{prices.get((flavor.name, ''), 0.0):.3g}"
        yield (flavor.name, str(nodes), *(f"{count:g}" for count in (sum(counts), *counts)), *_sums(mine), price)


def queue_rows(decision: Decision, held: Sequence[Draw]) -> Iterator[tuple[str, ...]]:
    """HELD is what their pods hold, which costs and draws; PLAN is what they are granted."""
    for use in decision.queue_use:
        mine = [draw for draw in held if (draw.queue, draw.flavor, draw.use) == (use.queue, use.flavor, JOBS)]
        counts = (use.nominal, sum(draw.accelerators for draw in mine), use.used)
        yield (use.queue, use.flavor, *(f"{count:g}" for count in counts), *_sums(mine), f"{use.price:.3g}")


def job_rows(got: Read, decision: Decision) -> Iterator[tuple[str, ...]]:
    """Those that hold most accelerators first."""
    flavors = {flavor.name: flavor for flavor in got.snapshot.flavors}
    queues = {queue.name: queue for queue in got.snapshot.queues}
    count: dict[JobKey, float] = {}
    charges: dict[JobKey, list[tuple[float | None, float | None]]] = {}
    for row in holdings(got.snapshot):
        if row.key is not None:
            count[row.key] = count.get(row.key, 0.0) + row.accelerators
            charges.setdefault(row.key, []).append(charge_of(row, flavors))
    jobs = {job.key: job for job in got.snapshot.jobs}

    def order(outcome: Outcome) -> tuple[float, JobKey]:
        return -count.get(outcome.key, 0.0), outcome.key

    for outcome in sorted(decision.outcomes, key=order):
        job = jobs[outcome.key]
        held = charges.get(outcome.key, [])
        yield (
            str(outcome.key),
            queue_name(job, queues) or "-",
            job.memory.phase or "-",
            shown(outcome.current),
            shown(outcome.target),
            _money(cost for cost, _ in held),
            _watts(power for _, power in held),
            outcome.reason,
        )


def _sums(held: Iterable[Draw]) -> tuple[str, str]:
    rows = list(held)
    return _money(draw.per_hour for draw in rows), _watts(draw.watts for draw in rows)


def _money(amounts: Iterable[float | None]) -> str:
    return _summed(amounts, ".2f")


def _watts(amounts: Iterable[float | None]) -> str:
    return _summed(amounts, ".0f")


def _summed(amounts: Iterable[float | None], form: str) -> str:
    """Nothing held is 0; where no flavor says its price or power it is not known."""
    said = list(amounts)
    known = [amount for amount in said if amount is not None]
    return f"{sum(known):{form}}" if known or not said else "-"
