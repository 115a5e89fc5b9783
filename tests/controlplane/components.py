"""The components' command lines and the files that they read: what a plane is made of, as data."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.access import Access
from controlplane.programs import Binaries

HERE = Path(__file__).parent
AUDIT_POLICY = HERE / "audit.yaml"
STAGES = HERE / "stages.yaml"
KWOK_ANNOTATION = "kwok.x-k8s.io/node"
GPU = "nvidia.com/gpu"
# Pods name their scheduler. It ranks the nodes that a pod fits on: the default one spreads pods (LeastAllocated).
DEFAULT_SCHEDULER = "default-scheduler"
# This one packs GPUs (MostAllocated).
PACKING_SCHEDULER = "packing-scheduler"
CLIENTS = ("admin", "kube-controller-manager", "kube-scheduler", "kwok")
# Those that Apportion's objects meet. Without serviceaccount no pod is admitted, without node-lifecycle every new node
# keeps its not-ready taint and nothing is scheduled.
CONTROLLERS = (
    "deployment", "replicaset", "statefulset", "job", "disruption", "horizontal-pod-autoscaler", "garbage-collector",
    "namespace", "serviceaccount", "resourcequota", "clusterrole-aggregation", "node-lifecycle", "taint-eviction",
    "pod-garbage-collector",
)  # fmt: skip
# Client-side limits meant for big clusters; here they would be the slowest part.
QPS = 1000


@dataclass(frozen=True)
class Options:
    """What differs between planes."""

    # A quarter of it is the time between two heartbeats of a node; a thousand nodes at 40 s cost half a core.
    node_lease_seconds: int = 40
    # A node that is silent for so long becomes NotReady. Must exceed the heartbeats' distance by far.
    node_grace_seconds: int = 50
    # How long pods bear a node that is not ready, unless they say it themselves.
    not_ready_seconds: int = 300
    # Events are deleted after this time; they are most of what etcd holds in a long run.
    event_ttl_seconds: int = 3600


BENCHMARK = Options(node_lease_seconds=400, node_grace_seconds=3600)


@dataclass(frozen=True)
class Ports:
    etcd: int
    etcd_peer: int
    apiserver: int


@dataclass(frozen=True)
class Blueprint:
    """All that the command lines are made from. `folder` holds every file of the plane."""

    binaries: Binaries
    options: Options
    folder: Path
    ports: Ports
    tokens: dict[str, str]

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def key(self) -> Path:
        return self.folder / "service-account.key"

    @property
    def token_file(self) -> Path:
        return self.folder / "tokens.csv"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.etcd}"

    def access(self, client: str) -> Access:
        return Access(self.ports.apiserver, self.certificates / "apiserver.crt", self.tokens[client])

    def kubeconfig(self, client: str) -> Path:
        return self.folder / f"kubeconfig-{client}"

    @property
    def scheduler_config(self) -> Path:
        return self.folder / "scheduler.yaml"


def new_tokens() -> dict[str, str]:
    return {client: secrets.token_urlsafe(24) for client in CLIENTS}


def etcd(plan: Blueprint) -> list[str]:
    peer = f"http://127.0.0.1:{plan.ports.etcd_peer}"
    return [
        *plan.binaries.etcd,
        f"--data-dir={plan.folder / 'etcd'}",
        f"--listen-client-urls={plan.etcd_url}",
        f"--advertise-client-urls={plan.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def apiserver(plan: Blueprint) -> list[str]:
    return [
        *plan.binaries.apiserver,
        f"--etcd-servers={plan.etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={plan.ports.apiserver}",
        f"--cert-dir={plan.certificates}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={plan.token_file}",
        f"--service-account-key-file={plan.key}",
        f"--service-account-signing-key-file={plan.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        # OpenShift has it, plain Kubernetes does not: owner references need rights on the owner's finalizers.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        # A loopback address is no endpoint; the default would try and complain for ever.
        "--endpoint-reconciler-type=none",
        # Watches never end by themselves: without it SIGTERM would wait a minute for them.
        "--shutdown-watch-termination-grace-period=1s",
        f"--default-not-ready-toleration-seconds={plan.options.not_ready_seconds}",
        f"--default-unreachable-toleration-seconds={plan.options.not_ready_seconds}",
        f"--event-ttl={plan.options.event_ttl_seconds}s",
        f"--audit-policy-file={AUDIT_POLICY}",
        f"--audit-log-path={plan.audit_log}",
    ]


def controller_manager(plan: Blueprint) -> list[str]:
    return [
        *plan.binaries.controller_manager,
        f"--kubeconfig={plan.kubeconfig('kube-controller-manager')}",
        f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}",
        f"--kube-api-qps={QPS}",
        f"--kube-api-burst={2 * QPS}",
        f"--node-monitor-grace-period={plan.options.node_grace_seconds}s",
        "--leader-elect=false",
        "--secure-port=0",
    ]


def scheduler(plan: Blueprint) -> list[str]:
    return [*plan.binaries.scheduler, f"--config={plan.scheduler_config}", "--secure-port=0"]


def scheduler_configuration(plan: Blueprint) -> dict[str, Any]:
    weights = [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}, {"name": GPU, "weight": 3}]
    fit = {"scoringStrategy": {"type": "MostAllocated", "resources": weights}}
    # By default a Deployment's pods are spread over nodes, and that outweighs packing.
    no_spread = {"defaultingType": "List", "defaultConstraints": []}
    packing = [{"name": "NodeResourcesFit", "args": fit}, {"name": "PodTopologySpread", "args": no_spread}]
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {
            "kubeconfig": str(plan.kubeconfig("kube-scheduler")),
            "qps": QPS,
            "burst": 2 * QPS,
        },
        "profiles": [
            {"schedulerName": DEFAULT_SCHEDULER},
            {"schedulerName": PACKING_SCHEDULER, "pluginConfig": packing},
        ],
    }


def kwok(plan: Blueprint) -> list[str]:
    return [
        *plan.binaries.kwok,
        f"--kubeconfig={plan.kubeconfig('kwok')}",
        f"--config={STAGES}",
        # A node without the annotation has no kubelet: nothing ever makes it ready, nothing runs there.
        f"--manage-nodes-with-annotation-selector={KWOK_ANNOTATION}=fake",
        f"--node-lease-duration-seconds={plan.options.node_lease_seconds}",
    ]


def token_file(plan: Blueprint) -> str:
    """All may do all; the names tell them apart in the audit log."""
    return "".join(f'{token},{client},{client},"system:masters"\n' for client, token in plan.tokens.items())
