"""What a comparison of policies says: as rows of a table, as CSV, as a document."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any

from apportion.api.names import API_VERSION
from apportion.simulator import METRICS, Interval, Metric, Trial, difference, mean

MISSING = "-"


def values_of(trials: Sequence[Trial], policy: str, metric: str) -> list[float | None]:
    """By seed."""
    return [one.values[metric] for one in trials if one.policy == policy]


def rows_of(trials: Sequence[Trial], names: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads, and a row for each metric that is known of somebody: the mean over the seeds, and how far that is from the
    first policy, with its interval."""
    first, *others = names
    heads = ["METRIC", first]
    for name in others:
        heads += [name, f"{name} - {first}"]
    rows = []
    for key, metric in METRICS.items():
        known = {name: values_of(trials, name, key) for name in names}
        if all(mean(values) is None for values in known.values()):
            continue
        row = [
            f"{metric.words} ({metric.shown})" if metric.shown else metric.words,
            _number(metric, mean(known[first])),
        ]
        for name in others:
            row += [_number(metric, mean(known[name])), _interval(metric, difference(known[first], known[name]))]
        rows.append(tuple(row))
    return tuple(heads), rows


def _number(metric: Metric, value: float | None) -> str:
    return MISSING if value is None else f"{value / metric.scale:.4g}"


def _interval(metric: Metric, found: Interval | None) -> str:
    if found is None:
        return MISSING
    said = f"{found.mean / metric.scale:+.3g}"
    if found.low is None or found.high is None:
        return said
    return f"{said} [{found.low / metric.scale:+.3g}, {found.high / metric.scale:+.3g}]"


def csv_text(trials: Sequence[Trial]) -> str:
    """A line for each policy and seed, metrics in their own units, empty where something is missing."""
    sink = StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["policy", "seed", *METRICS])
    for one in trials:
        writer.writerow([one.policy, one.seed, *("" if v is None else repr(v) for v in one.values.values())])
    return sink.getvalue()


def document(trials: Sequence[Trial], names: Sequence[str], trace: str) -> dict[str, Any]:
    """kind Simulation (docs/simulation.md): plain JSON values, the same for the same input."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Simulation",
        "trace": trace,
        "seeds": sorted({one.seed for one in trials}),
        "metrics": {key: {"words": metric.words, "unit": metric.unit} for key, metric in METRICS.items()},
        "policies": [_policy(trials, names[0], name) for name in names],
    }


def _policy(trials: Sequence[Trial], first: str, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "mean": {key: mean(values_of(trials, name, key)) for key in METRICS},
        "difference": None if name == first else dict(_differences(trials, first, name)),
        "runs": [
            {
                "seed": one.seed,
                "values": dict(one.values),
                "decisions": one.decisions,
                "acceleratorHours": [{**asdict(use), "queue": use.queue or None} for use in one.uses],
            }
            for one in trials
            if one.policy == name
        ],
    }


def _differences(trials: Sequence[Trial], first: str, name: str) -> Iterator[tuple[str, Any]]:
    for key in METRICS:
        found = difference(values_of(trials, first, key), values_of(trials, name, key))
        yield key, None if found is None else {"mean": found.mean, "low": found.low, "high": found.high}
