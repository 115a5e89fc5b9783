"""Which flavor a node carries where its labels are unusual, and what the catalog may say of it."""

import pytest

from apportion.kube.flavors import classify
from apportion.model.flavors import Flavor
from apportion.model.selection import Toleration
from builders import GPU

PRODUCT = "nvidia.com/gpu.product"
TPU, KIND, TOPOLOGY = "google.com/tpu", "cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"


@pytest.mark.parametrize(
    ("resource", "labels", "name"),
    [
        (GPU, {}, "nvidia-com-gpu"),
        (GPU, {PRODUCT: "", "cloud.google.com/gke-accelerator": "nvidia-l4"}, "nvidia-l4"),
        (GPU, {PRODUCT: "???"}, "unnamed"),
        ("nvidia.com/gpu.shared", {PRODUCT: "NVIDIA-A10"}, "nvidia-a10"),
        ("nvidia.com/mig-1g.10gb", {}, "mig-1g-10gb"),
        ("nvidia.com/mig-1g.10gb", {PRODUCT: "NVIDIA-H100-MIG-1g.10gb"}, "nvidia-h100-mig-1g-10gb"),
        ("amd.com/cpx_nps4", {"amd.com/gpu.product-name": "MI300X"}, "mi300x"),
        ("gpu.intel.com/xe", {"gpu.intel.com/family": "Max"}, "max"),
        ("habana.ai/gaudi3", {}, "habana-ai-gaudi3"),
        (TPU, {KIND: "v6e-slice", TOPOLOGY: "2x4"}, "tpu-v6e-slice-2x4"),
        (TPU, {KIND: "tpu-v4-podslice", TOPOLOGY: "2x2x1"}, "tpu-v4-podslice-2x2x1"),
    ],
)
def test_a_flavor_is_named_by_the_first_label_that_says_something(
    resource: str, labels: dict[str, str], name: str
) -> None:
    found = classify({resource: 4, "cpu": 8000}, labels, ()).flavor
    assert found is not None
    assert (found.name, found.resource) == (name, resource)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({KIND: "tpu-v5-lite-podslice"}, "a TPU node without the labels"),
        ({TOPOLOGY: "2x4"}, "a TPU node without the labels"),
        ({KIND: "tpu-v4-podslice", TOPOLOGY: "2x2x2"}, "a multi-host TPU slice (2x2x2)"),
    ],
    ids=["no topology", "no type", "four chips have one host"],
)
def test_a_tpu_that_is_no_flavor_says_why(labels: dict[str, str], says: str) -> None:
    found = classify({TPU: 4}, labels, ())
    assert found.flavor is None
    assert says in found.why_not


def test_what_a_node_offers_none_of_is_no_accelerator() -> None:
    found = classify({GPU: 0, "cpu": 8000}, {PRODUCT: "NVIDIA-L4"}, ()).flavor
    assert found is not None
    assert found.name == "cpu"


def test_the_catalog_adds_to_what_discovery_says_of_a_flavor() -> None:
    """Its provider's taint, and the label by which pods find it."""
    entry = Flavor("nvidia-l4", "", tolerations=(Toleration("team", "Exists"),), price_per_hour=0.5)
    found = classify({GPU: 4}, {PRODUCT: "NVIDIA-L4"}, (entry,)).flavor
    assert found == Flavor(
        "nvidia-l4",
        GPU,
        ((PRODUCT, "NVIDIA-L4"),),
        (Toleration(GPU, "Exists"), Toleration("team", "Exists")),
        price_per_hour=0.5,
    )


def test_a_catalog_entry_has_the_nodes_that_it_selects_and_that_offer_its_resource() -> None:
    mine = Flavor("mine", GPU, (("pool", "mine"),))
    labels = {"pool": "mine", PRODUCT: "NVIDIA-L4"}
    names = []
    for offered in ({GPU: 4}, {GPU: 0, "cpu": 8000}):
        found = classify(offered, labels, (mine,)).flavor
        assert found is not None
        names.append(found.name)
    assert names == ["mine", "cpu"]
    other = classify({GPU: 4}, {**labels, "pool": "other"}, (mine,)).flavor
    assert other is not None
    assert other.name == "nvidia-l4"
