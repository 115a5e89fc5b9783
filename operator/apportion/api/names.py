"""The words on the wire that are no fields: group, version, kinds, labels and annotations."""

GROUP = "apportion.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

TRAINING_JOB = "TrainingJob"
QUEUE = "Queue"
ALLOCATION_POLICY = "AllocationPolicy"

PLURALS = {TRAINING_JOB: "trainingjobs", QUEUE: "queues", ALLOCATION_POLICY: "allocationpolicies"}

GROUPS = {
    "Namespace": "",
    "Node": "",
    "Pod": "",
    "PriorityClass": "scheduling.k8s.io",
    "Deployment": "apps",
    "ReplicaSet": "apps",
    "HorizontalPodAutoscaler": "autoscaling",
    ALLOCATION_POLICY: GROUP,
    QUEUE: GROUP,
    TRAINING_JOB: GROUP,
}
"""The kinds that the operator reads, in the order of a snapshot, with their API groups."""

CLUSTER_SCOPED = frozenset({"Namespace", "Node", "PriorityClass", ALLOCATION_POLICY, QUEUE})

POLICY_NAME = "default"
"""There is one AllocationPolicy; its schema admits no other name."""

HOLD = f"{GROUP}/hold"
RETRY = f"{GROUP}/retry"
COMPLETED = f"{GROUP}/completed"
THROUGHPUT = f"{GROUP}/throughput"
PROGRESS = f"{GROUP}/progress"
MANAGED = f"{GROUP}/managed"
DECISION = f"{GROUP}/decision"
REPLICAS = f"{GROUP}/replicas"
FLAVOR = f"{GROUP}/flavor"
