"""What the allocator knows of the cluster, with no server: in which order news may come."""

from apportion.config import Settings
from apportion.controller.allocator import Allocator
from apportion.kube.client import Api
from apportion.kube.kinds import JOB
from apportion.metrics import Metrics


def job(version: str) -> dict[str, object]:
    spec = {"minReplicas": 1, "maxReplicas": 1, "workloadRef": {"name": "web"}}
    return {"metadata": {"name": "job", "namespace": "team", "uid": "1", "resourceVersion": version}, "spec": spec}


def test_a_reply_that_comes_after_the_deletion_of_its_job_does_not_bring_it_back() -> None:
    allocator = Allocator(Api(None), Settings(), Metrics(), lambda: True)
    allocator.take(JOB, job("1"))
    allocator.wrote(JOB, job("2"))
    assert [entry.version for entry in allocator.cluster.entries["TrainingJob"].values()] == [2]

    allocator.take(JOB, job("4"), deleted=True)
    allocator.wrote(JOB, job("3"))

    assert not allocator.cluster.entries["TrainingJob"]
