"""Whose a pod is: the job's whose Deployment made it, or somebody else's."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apportion.kube.facts import DeploymentFacts, PodFacts, replica_set_prefix
from apportion.model.jobs import JobKey

Named = tuple[str, str]
"""A namespace, and what the names of a Deployment's ReplicaSets begin with; or the whole name of a ReplicaSet."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job's Deployment, None where its own is to be made again. since: when the job was created that it is made for,
    in seconds of the epoch; 0 of a Deployment that the job only names."""

    deployment: DeploymentFacts | None
    since: float = 0.0


class Belonging:
    """Pods by job; a pod that is nobody's is foreign.

    A pod names its ReplicaSet, and that a Deployment by name only. After a Deployment was deleted and made again, pods
    of the old one are there until the garbage collector has come, which may take minutes: they hold their
    accelerators, but no replica of the new one is theirs.
    """

    def __init__(self, pods: Iterable[PodFacts], claims: Mapping[JobKey, Claim]) -> None:
        self._owners = {
            (key.namespace, replica_set_prefix(found.workload.name if (found := claim.deployment) else key.name)): key
            for key, claim in claims.items()
        }
        self.by_job: dict[JobKey, list[PodFacts]] = {}
        for pod in pods:
            owner = self._owners.get((pod.namespace, pod.deployment))
            if owner is not None:
                self.by_job.setdefault(owner, []).append(pod)
        self._left: set[Named] = set()
        for key, theirs in self.by_job.items():
            if left := left_behind(theirs, claims[key]):
                self._left |= {(pod.namespace, pod.replica_set) for pod in theirs if pod.replica_set in left}
                self.by_job[key] = [pod for pod in theirs if pod.replica_set not in left]

    def is_foreign(self, pod: PodFacts) -> bool:
        return (pod.namespace, pod.deployment) not in self._owners or (pod.namespace, pod.replica_set) in self._left


def left_behind(pods: Iterable[PodFacts], claim: Claim) -> frozenset[str]:
    """The ReplicaSets among those of `pods` that an earlier Deployment of the same name has left behind.

    They have pods from before this Deployment. So do those that it took over as they were (`kubectl delete
    --cascade=orphan`, and made again): but these its controller counts, who reads ReplicaSets, as we do not. Before it
    has counted, nothing is taken from the job but what is older than itself: how that ended is not how it ends.
    """
    deployment = claim.deployment
    if deployment is None or deployment.counted is None:
        return frozenset(pod.replica_set for pod in pods if 0 < pod.pod.created < claim.since)
    live = [pod for pod in pods if not pod.pod.terminating]
    older = Counter(pod.replica_set for pod in live if 0 < pod.pod.created < deployment.created)
    if not older:
        return frozenset()
    surely_its_own = sum(pod.replica_set not in older for pod in live)
    return frozenset() if deployment.counted >= surely_its_own + older.total() else frozenset(older)
