"""The custom resource definitions, from the models: what `apportion crds` writes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from apportion.api.allocationpolicy import AllocationPolicy
from apportion.api.base import Wire
from apportion.api.names import ALLOCATION_POLICY, GROUP, PLURALS, QUEUE, TRAINING_JOB, VERSION
from apportion.api.queue import Queue
from apportion.api.structural import structural_schema
from apportion.api.trainingjob import TrainingJob

Document = dict[str, Any]

_HEADER = "# Generated from the models by `apportion crds`: change those, not this file.\n"


class Column(NamedTuple):
    """A printer column; those of priority 1 are shown by `kubectl get -o wide`."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0


class Resource(NamedTuple):
    kind: str
    model: type[Wire]
    namespaced: bool
    short: str
    categories: Sequence[str]
    columns: Sequence[Column]


_AGE = Column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")

RESOURCES = (
    Resource(
        TRAINING_JOB,
        TrainingJob,
        True,
        "tj",
        ("all", "apportion"),
        (
            Column("Queue", "string", ".spec.queueName", "The queue that pays."),
            Column("Flavor", "string", ".status.admission.flavor", "The flavor that was granted."),
            Column("Replicas", "integer", ".status.admission.replicas", "The replicas that were granted."),
            Column("Min", "integer", ".spec.minReplicas", "The gang."),
            Column("Max", "integer", ".spec.maxReplicas", "The most that the job can use."),
            Column("Phase", "string", ".status.phase", "Where the job is in its life."),
            _AGE,
            Column("Ready", "integer", ".status.replicas", "Pods that are ready.", 1),
            Column("Message", "string", ".status.message", "What it has, and why not more.", 1),
        ),
    ),
    Resource(
        QUEUE,
        Queue,
        False,
        "aq",
        ("apportion",),
        (
            Column("Cohort", "string", ".spec.cohort", "Queues that lend to each other."),
            Column("Weight", "number", ".spec.weight", "Share of what is divided by value."),
            Column("Admitted", "integer", ".status.admitted", "Jobs that were granted something."),
            Column("Pending", "integer", ".status.pending", "Jobs that wait."),
            _AGE,
        ),
    ),
    Resource(
        ALLOCATION_POLICY,
        AllocationPolicy,
        False,
        "alp",
        ("apportion",),
        (
            Column("Mode", "string", ".spec.mode", "What is done with decisions."),
            Column("Round", "integer", ".status.round", "The last round that changed something."),
            Column("Objective", "number", ".status.objective", "The value of the plan."),
            Column("Gap", "number", ".status.gap", "How far from the best it can be at most."),
            _AGE,
        ),
    ),
)


def crd_documents() -> list[Document]:
    """One CustomResourceDefinition for each kind."""
    return [_definition(resource) for resource in RESOURCES]


def crd_files() -> dict[str, str]:
    """Text by file name, the same for the same models."""
    return {f"{PLURALS[resource.kind]}.yaml": _HEADER + _text(_definition(resource)) for resource in RESOURCES}


def write(folder: str | Path) -> list[Path]:
    """Write the files into the folder, which is made if it is missing; returns their paths."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in crd_files().items():
        path = target / name
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def _text(document: Document) -> str:
    return yaml.dump(document, Dumper=_NoAliases, sort_keys=False, width=120, allow_unicode=True)


class _NoAliases(yaml.SafeDumper):
    """Rules and types are shared objects in Python; in the file each stands where it holds."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _definition(resource: Resource) -> Document:
    plural = PLURALS[resource.kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "apportion"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short],
                "categories": list(resource.categories),
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(_columns(resource.columns)),
                    "schema": {"openAPIV3Schema": structural_schema(resource.model)},
                }
            ],
        },
    }


def _columns(columns: Iterable[Column]) -> Iterable[Document]:
    for column in columns:
        yield {
            "name": column.name,
            "type": column.type,
            "jsonPath": column.path,
            "description": column.description,
            **({"priority": column.priority} if column.priority else {}),
        }
