"""Settings of the operator process. Each can be given as an option of `apportion run`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    kubeconfig: str | None = None
    """A kubeconfig file. None: KUBECONFIG or the default place, or the pod's ServiceAccount."""

    context: str | None = None
    """The kubeconfig's context. None: its current one."""

    namespace: str = "apportion-system"
    """Where the Lease is kept."""

    watch_namespaces: tuple[str, ...] = ()
    """TrainingJobs of these namespaces only, by rights in these only; nodes and pods are read everywhere. (): all."""

    lease_name: str = "apportion"
    """The Lease's name: operators with the same one elect a leader among themselves."""

    lease_seconds: float = 6.0
    """How long a leader that is gone blocks the next; it renews every third of it. The next has decided within 10 s."""

    leader_election: bool = True
    """False: lead at once. Only for a cluster where nobody else runs the operator."""

    identity: str = ""
    """This replica's name in the Lease. Empty: host name and a random part."""

    host: str = "0.0.0.0"
    """Where /metrics, /healthz and /readyz are served."""

    port: int = 8080
    """The port of these; 0 takes a free one and logs it."""

    quiet_seconds: float = 0.15
    """A round starts when nothing has changed for so long ..."""

    longest_seconds: float = 1.0
    """... or this long after the first change."""

    observe_seconds: float = 15.0
    """Between two measurements of the rates of jobs."""

    settle_seconds: float = 60.0
    """A job's rate is learned from once all its pods have been ready for so long: at least its query's window."""

    audit_seconds: float = 45.0
    """Between two LISTs of what is not watched; what is not for longer makes this replica unready. After a watch began
    anew, which may not tell what vanished, there is a LIST within a second or two."""

    stale_seconds: float = 150.0
    """Where neither watches nor LISTs have told for so long what became of the cluster, nothing is decided."""

    history_folder: str = ""
    """Where every round is recorded (snapshot, policy, decision), for `apportion replay`. Empty: nowhere. The chart
    names a volume; a process that somebody starts by hand fills no disk unasked."""

    history_mebibytes: int = 256
    """Most that all recorded rounds together may take; the oldest go first. A round of 2,500 jobs takes about 0.15."""
