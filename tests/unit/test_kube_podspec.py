"""Templates that cannot be planned with: what is wrong with them, and where."""

from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.podspec import MOST_CHARACTERS, MOST_TERMS
from apportion.model.jobs import Block
from unit.test_kube_jobs import GPU, asking, deployment, naming, pods, seen

QUANTITY = "expected a quantity such as 500m or 16Gi, not below 0, not"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (pods((GPU, 1), ("memory", "lots")), f"containers[0].resources.limits.memory: {QUANTITY} 'lots'"),
        (pods((GPU, 1), ("cpu", -1)), f"containers[0].resources.limits.cpu: {QUANTITY} '-1'"),
        (pods((GPU, "0.5")), f"containers[0].resources.limits.{GPU}: expected a whole number, not '0.5'"),
        (pods((GPU, 1), overhead={"cpu": "x" * 99}), f"overhead.cpu: {QUANTITY} {'x' * 40!r}"),
        (
            pods((GPU, 1), initContainers=["", {"resources": {"requests": {"memory": "1 Gi"}}}]),
            f"initContainers[1].resources.requests.memory: {QUANTITY} '1 Gi'",
        ),
    ],
)
def test_a_template_that_asks_for_no_quantity_is_invalid(spec: Any, message: str) -> None:
    """The API server would refuse every pod of it; and what is not known to be asked for is not kept free."""
    assert seen(asking(spec)).block == Block("Invalid", f"spec.template.spec.{message}")


@pytest.mark.parametrize("amount", ["0", "2.0", "3000m", "1e30", "1k"])
def test_whole_numbers_of_accelerators_are_quantities_however_they_are_written(amount: str) -> None:
    assert seen(asking(pods((GPU, amount), ("memory", "0.5"), ("cpu", "0.1")))).block is None


def terms(count: int, values: int = 1) -> dict[str, Any]:
    """A template whose pods may run where one of so many terms holds, each with so many values."""
    each = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"] * values}]}
    needed = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [each] * count}}
    return pods((GPU, 1), affinity={"nodeAffinity": needed})


LONG = "x" * MOST_CHARACTERS
TERMS = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
BEYOND = [
    (terms(MOST_TERMS + 1), f"{TERMS}: expected at most {MOST_TERMS}, not {MOST_TERMS + 1}"),
    (terms(1, MOST_CHARACTERS), f"affinity: expected at most {MOST_CHARACTERS} characters as JSON, not "),
    (pods((GPU, 1), tolerations=[{"key": LONG}]), "tolerations: expected at most "),
    (pods((GPU, 1), nodeSelector={"zone": LONG}), "nodeSelector: expected at most "),
]


@pytest.mark.parametrize(("spec", "message"), BEYOND)
def test_what_is_asked_of_nodes_has_a_bound(spec: Any, message: str) -> None:
    """One tenant's template was looked up on every node, in every round, for the time that all others need."""
    for where, job in (
        ("", seen(asking(spec))),
        ("Deployment 'theirs': ", seen(naming(), (kinds.DEPLOYMENT, deployment(template=spec)))),
    ):
        assert job.block is not None
        assert job.block.reason == "Invalid"
        assert job.block.message.startswith(f"{where}spec.template.spec.{message}")
        assert not job.nodes.alternatives


@pytest.mark.parametrize("spec", [terms(MOST_TERMS), terms(1, 2000), terms(0)])
def test_what_people_ask_of_nodes_is_within_the_bound(spec: Any) -> None:
    assert seen(asking(spec)).block is None


@pytest.mark.parametrize("odd", [5, "x", {"a": 1}, [5, "x"]])
def test_a_template_of_another_shape_is_read_as_far_as_it_goes(odd: Any) -> None:
    spec = {"containers": odd, "initContainers": odd, "overhead": odd, "tolerations": odd, "nodeSelector": odd}
    assert seen(asking({"spec": spec})).requests["pods"] == 1
