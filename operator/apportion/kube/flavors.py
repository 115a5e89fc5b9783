"""Which accelerator flavor a node carries: the rules in their order, then the policy's catalog.

Label names as the vendors' device plugins and feature discoveries write them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from apportion.model.flavors import Flavor
from apportion.model.resources import CPU, Amounts
from apportion.model.selection import Toleration

NVIDIA = "nvidia.com/gpu"
NVIDIA_PRODUCT = "nvidia.com/gpu.product"
GKE_ACCELERATOR = "cloud.google.com/gke-accelerator"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
TPU = "google.com/tpu"
TPU_TYPE = "cloud.google.com/gke-tpu-accelerator"
TPU_TOPOLOGY = "cloud.google.com/gke-tpu-topology"

NEURON = "aws.amazon.com/neuron"
NEURON_NAMES = (NEURON, "aws.amazon.com/neurondevice", "aws.amazon.com/neuroncore")
"""AWS's device plugin offers the same chips under several names, whole (the first two) or by cores, and Kubernetes
counts each by itself. A node is counted by the first of them that it offers."""

# Chips of one host, by TPU type: a topology with more is a slice over several hosts, which no Deployment can use.
TPU_CHIPS_PER_HOST = {"tpu-v4-podslice": 4, "tpu-v5p-slice": 4, "tpu-v5-lite-podslice": 8, "tpu-v5-lite-device": 8}
TPU_CHIPS_DEFAULT = 8

# Nodes that carry accelerators are tainted so by their providers; a pod that asks for the resource tolerates it
# (ExtendedResourceToleration, which many clusters run).
PROVIDER_TAINTS = (
    NVIDIA,
    "amd.com/gpu",
    TPU,
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    NEURON,
)


@dataclass(frozen=True)
class Found:
    """What a rule says of a node: a flavor, or why its accelerators cannot be used."""

    flavor: Flavor | None = None
    why_not: str = ""


@lru_cache(maxsize=1024)
def slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "unnamed"


def by_label(resource: str, labels: Mapping[str, str], keys: Iterable[str]) -> Found:
    """The first of the keys that the node carries names the flavor; without any, the resource does."""
    for key in keys:
        if labels.get(key):
            return Found(flavor_of(slug(labels[key]), resource, ((key, labels[key]),)))
    return Found(flavor_of(slug(resource), resource, ()))


@lru_cache(maxsize=1024)
def flavor_of(name: str, resource: str, selector: tuple[tuple[str, str], ...]) -> Flavor:
    taint = NEURON if resource in NEURON_NAMES else resource
    tolerations = (Toleration(key=taint, operator="Exists"),) if taint in PROVIDER_TAINTS else ()
    return Flavor(name, resource, selector, tolerations)


def nvidia(resource: str, labels: Mapping[str, str]) -> Found:
    return by_label(resource, labels, (NVIDIA_PRODUCT, GKE_ACCELERATOR, INSTANCE_TYPE))


def mig(resource: str, labels: Mapping[str, str]) -> Found:
    """nvidia.com/mig-1g.10gb on a product: a flavor of its own, named by product and profile."""
    product = labels.get(NVIDIA_PRODUCT, "")
    profile = resource.removeprefix("nvidia.com/")
    base = slug(product.split("-MIG-")[0]) + "-" if product else ""
    selector = ((NVIDIA_PRODUCT, product),) if product else ()
    return Found(Flavor(base + slug(profile), resource, selector, (Toleration(key=NVIDIA, operator="Exists"),)))


def amd(resource: str, labels: Mapping[str, str]) -> Found:
    keys = (
        "amd.com/gpu.product-name",
        "beta.amd.com/gpu.product-name",
        "amd.com/gpu.product",
        GKE_ACCELERATOR,
        INSTANCE_TYPE,
    )
    return by_label(resource, labels, keys)


def intel(resource: str, labels: Mapping[str, str]) -> Found:
    return by_label(resource, labels, ("gpu.intel.com/product", "gpu.intel.com/family", INSTANCE_TYPE))


def gaudi(resource: str, labels: Mapping[str, str]) -> Found:
    return by_label(resource, labels, ("habana.ai/gaudi.product", "habana.ai/device-type", INSTANCE_TYPE))


def neuron(resource: str, labels: Mapping[str, str]) -> Found:
    return by_label(resource, labels, ("aws.amazon.com/neuron.product", INSTANCE_TYPE))


def tpu(resource: str, labels: Mapping[str, str]) -> Found:
    """Type and topology name the flavor. A slice over several hosts is one unit of several pods: refused here."""
    kind, topology = labels.get(TPU_TYPE, ""), labels.get(TPU_TOPOLOGY, "")
    if not kind or not topology:
        return Found(why_not=f"a TPU node without the labels {TPU_TYPE} and {TPU_TOPOLOGY}")
    chips = 1
    for part in topology.lower().split("x"):
        if not part.isdecimal() or not 1 <= int(part) <= 4096:
            return Found(why_not=f"{TPU_TOPOLOGY}={topology} is no topology")
        chips *= int(part)
    if chips > TPU_CHIPS_PER_HOST.get(kind, TPU_CHIPS_DEFAULT):
        return Found(why_not=f"a multi-host TPU slice ({topology}): a Deployment's replica is one pod on one host")
    selector = ((TPU_TYPE, kind), (TPU_TOPOLOGY, topology))
    tolerations = (Toleration(key=TPU, operator="Exists"),)
    name = f"{kind if kind.startswith('tpu') else 'tpu-' + kind}-{topology}"
    return Found(Flavor(slug(name), resource, selector, tolerations))


Rule = Callable[[str, Mapping[str, str]], Found]

RULES: tuple[tuple[Callable[[str], bool], Rule], ...] = (
    (lambda resource: resource.startswith("nvidia.com/mig-"), mig),
    (lambda resource: resource in (NVIDIA, NVIDIA + ".shared"), nvidia),
    (lambda resource: resource == TPU, tpu),
    (lambda resource: resource == "amd.com/gpu" or resource.startswith("amd.com/"), amd),
    (lambda resource: resource in ("gpu.intel.com/i915", "gpu.intel.com/xe"), intel),
    (lambda resource: resource.startswith("habana.ai/"), gaudi),
    (lambda resource: resource.startswith(NEURON), neuron),
)


@lru_cache(maxsize=1024)
def rule_of(resource: str) -> Rule | None:
    return next((rule for matches, rule in RULES if matches(resource)), None)


def discover(allocatable: Amounts, labels: Mapping[str, str]) -> list[Found]:
    """Every flavor that the node offers by its known resources, in name order; plain CPU where there is none."""
    offered = sorted(name for name, amount in allocatable.items() if amount > 0)
    again = [name for name in NEURON_NAMES if name in offered][1:]
    found = []
    for resource in offered:
        rule = rule_of(resource)
        if rule is not None and resource not in again:
            found.append(rule(resource, labels))
    return found or [Found(Flavor("cpu", CPU))]


def overridden(flavor: Flavor, catalog: Sequence[Flavor]) -> Flavor:
    """The catalog's word on a discovered flavor: what it says counts, what it leaves out stays."""
    for entry in catalog:
        if entry.name == flavor.name:
            return merged(flavor, entry)
    return flavor


def merged(flavor: Flavor, entry: Flavor) -> Flavor:
    return replace(
        entry,
        resource=entry.resource or flavor.resource,
        node_selector=entry.node_selector or flavor.node_selector,
        tolerations=(*flavor.tolerations, *(t for t in entry.tolerations if t not in flavor.tolerations)),
    )


def in_catalog(allocatable: Amounts, labels: Mapping[str, str], catalog: Sequence[Flavor]) -> Flavor | None:
    """The first catalog entry that selects this node by labels and whose resource it offers."""
    for entry in catalog:
        if entry.node_selector and all(labels.get(key) == value for key, value in entry.node_selector):
            if allocatable.get(entry.resource, 0) > 0:
                return tolerated(entry)
        elif not entry.node_selector and allocatable.get(entry.resource, 0) > 0 and not known(entry.resource):
            return entry
    return None


def tolerated(entry: Flavor) -> Flavor:
    """The catalog's flavor with what its provider taints such nodes with, whether or not there is one."""
    tolerations = flavor_of(entry.name, entry.resource, ()).tolerations
    return replace(entry, tolerations=(*tolerations, *entry.tolerations))


def known(resource: str) -> bool:
    """Resources that discovery names by itself: a catalog entry without a selector only adds to those."""
    return resource == CPU or rule_of(resource) is not None


def classify(allocatable: Amounts, labels: Mapping[str, str], catalog: Sequence[Flavor]) -> Found:
    """A node's one flavor. A node with several usable resources (mixed MIG profiles) is refused with the reason."""
    entry = in_catalog(allocatable, labels, catalog)
    if entry is not None:
        return Found(entry)
    found = discover(allocatable, labels)
    usable = [one.flavor for one in found if one.flavor is not None]
    if not usable:
        return found[0]
    if len(usable) > 1:
        names = ", ".join(flavor.resource for flavor in usable)
        return Found(why_not=f"offers several accelerator resources ({names}); name one in the AllocationPolicy")
    return Found(overridden(usable[0], catalog))


def counted_twice(flavor: Flavor, held: Iterable[str]) -> str:
    """Why what is free of the flavor on a node cannot be told, where pods hold its chips under another name: which
    chips a number of cores lies on only the device plugin knows. Else empty."""
    others = sorted({*held} & {*NEURON_NAMES} - {flavor.resource}) if flavor.resource in NEURON_NAMES else []
    if not others:
        return ""
    return f"pods hold {', '.join(others)} on it, the same chips as its {flavor.resource}: what is free cannot be told"
