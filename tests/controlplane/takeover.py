"""How long a new leader takes, in a measure that other programs on the machine do not stretch.

On a busy machine every pause ends late and every request waits. What the operator is answerable for is how often it
looks at the Lease until it may take it, how long it means to pause between two looks, and what is left to do once it
leads. All that stands in the API server's audit log.
"""

from dataclasses import dataclass
from itertools import pairwise

from controlplane.scene import Replica
from controlplane.trail import Request

DECISIONS = ("trainingjobs/status", "deployments")
READ = ("get", "list", "watch")


@dataclass(frozen=True)
class Takeover:
    """Times are the API server's. `renewed`: the old leader's last renewal; `decided`: the first grant or size."""

    renewed: float
    looks: tuple[float, ...]
    """When the new leader asked for the Lease since then, the time included at which it found that it may have it."""
    taken: float
    decided: float
    between: tuple[Request, ...]
    """What it asked for between taking the Lease and its first decision."""

    @property
    def pause_seconds(self) -> float:
        """Between two looks. What makes one late only adds to it, so the shortest is what is meant."""
        return min(later - earlier for earlier, later in pairwise(self.looks))

    @property
    def waited_seconds(self) -> float:
        """From the last renewal to the Lease in new hands, had every look come in time."""
        return len(self.looks) * self.pause_seconds

    @property
    def renewals(self) -> int:
        """Of the new leader's own Lease before its first decision: it renews every third of the Lease."""
        return sum(each.resource == "leases" and each.verb == "update" for each in self.between)

    @property
    def reads(self) -> list[Request]:
        """What it had to read of the cluster first."""
        return [each for each in self.between if each.verb in READ and each.resource != "leases"]

    def __str__(self) -> str:
        return (
            f"{len(self.looks)} looks at the Lease, {self.pause_seconds:.2f} s apart; {self.taken - self.renewed:.1f} s"
            f" from the last renewal to the Lease, {self.decided - self.taken:.1f} s more to the decision"
        )


def takeover(old: Replica, new: Replica) -> Takeover | None:
    """Of a leader that is gone by its follower; None while that has not decided yet."""
    renewals = [each.answered for each in old.requests() if _takes(each)]
    asked = new.requests(renewals[-1])
    taken = next((each.answered for each in asked if _takes(each)), None)
    if taken is None:
        return None
    decided = next((each.received for each in asked if each.received > taken and _decides(each)), None)
    if decided is None:
        return None
    looks = (each.received for each in asked if each.resource == "leases" and each.verb == "get")
    between = tuple(each for each in asked if taken < each.received < decided)
    return Takeover(renewals[-1], tuple(at for at in looks if at < taken), taken, decided, between)


def _takes(request: Request) -> bool:
    return request.resource == "leases" and request.verb in ("create", "update") and request.code < 400


def _decides(request: Request) -> bool:
    return request.took_effect and request.resource in DECISIONS
