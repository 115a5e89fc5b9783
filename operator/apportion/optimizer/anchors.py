"""Pods that stay where they are leave free room ragged: the program again, with those pods as constants.

The first program counts blocks as if pods inside a flavor could move. Where its plan does not place, jobs that it
leaves on their flavor are anchored: their surviving pods are taken off the nodes' room, and only what they get beyond
counts as new. For sizes in a divisor chain the rows are exact again. Its plan is the best relative to these survivors.
"""

from collections.abc import Container, Mapping
from dataclasses import replace

import numpy as np

from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation
from apportion.model.snapshot import Snapshot
from apportion.optimizer.greedy import NOTHING
from apportion.optimizer.options import Bools, Columns, Ints, Options
from apportion.optimizer.packing import Placer
from apportion.optimizer.staying import Ground


def anchors(
    snapshot: Snapshot, found: Options, assigned: Mapping[JobKey, int], stuck: Container[JobKey]
) -> dict[int, int]:
    """By group: how many replicas of each member stay on its flavor, if that is so for all of its members.

    stuck: these stay as well, with what they were promised, and move no more.
    """
    columns, kept = found.columns, {}
    names = [flavor.name for flavor in snapshot.flavors]
    for at, group in enumerate(found.groups):
        if not group.current.replicas:
            continue
        mine = [assigned[job.key] for job in group.members]
        stays = all(column != NOTHING and names[columns.flavor[column]] == group.current.flavor for column in mine)
        if stays:
            kept[at] = min(group.current.replicas, *(int(columns.replicas[column]) for column in mine))
        elif group.keeps and any(job.key in stuck for job in group.members):
            kept[at] = min(group.current.replicas, group.keeps)
    return kept


def anchored(snapshot: Snapshot, ground: Ground, found: Options, kept: Mapping[int, int]) -> tuple[Options, Ints, Ints]:
    """(The options with these groups anchored, what their survivors leave of each node, the columns' old numbers).

    An anchored job has its anchored number, or more than it has now; nothing in between, as it would keep other pods.
    """
    columns = found.columns
    placer = Placer(ground)
    taken = columns.taken.copy()
    offered: Bools = np.ones(len(columns), dtype=np.bool_)
    for at, count in kept.items():
        group = found.groups[at]
        here = slice(int(columns.start[at]), int(columns.start[at + 1]))
        home = [flavor.name for flavor in snapshot.flavors].index(group.current.flavor)
        allowed = columns.replicas[here] == count
        if count == group.current.replicas:
            allowed |= columns.replicas[here] > count
        offered[here] = allowed & (columns.flavor[here] == home)
        stays = [ground.stays(Allocation(job.key, group.current.flavor, count)) for job in group.members]
        for stay in stays:
            if len(stay.rows):
                placer.free[stay.rows] -= stay.amounts
        # Of a grant that is not bound yet the missing pods are new as well.
        bound = min(count - stay.missing for stay in stays)
        taken[here] = np.maximum(0, columns.replicas[here] - bound)
    old = np.flatnonzero(offered)
    sizes = np.bincount(columns.group[old], minlength=len(found.groups))
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    some = Columns(
        columns.group[old], columns.flavor[old], columns.replicas[old], taken[old], columns.value[old],
        columns.current[old], columns.reduced[old], start,
    )  # fmt: skip
    return replace(found, columns=some), placer.free, old
