"""The status of a pod's containers, as a kubelet reports it. Pure: pod in, status out."""

from hashlib import sha256

from apportion.sandbox.clock import timestamp
from apportion.sandbox.pods import with_condition
from apportion.sandbox.trees import Obj, dig

_PREFIX = "sandbox.apportion.dev/"


def note(pod: Obj, name: str) -> str:
    """A sandbox.apportion.dev/ annotation; "" if it is not there."""
    return str((pod["metadata"].get("annotations") or {}).get(_PREFIX + name, ""))


def seconds_note(pod: Obj, name: str) -> float | None:
    """An annotation in seconds; None if it is absent or no number."""
    try:
        return max(0.0, float(note(pod, name)))
    except ValueError:
        return None


def exit_code(pod: Obj) -> int:
    """The code with which the main container ends itself."""
    return int(seconds_note(pod, "exit-code") or 0)


def main_status(pod: Obj) -> Obj:
    """The status of the main container, the first one; empty before the kubelet wrote one."""
    statuses = dig(pod, "status", "containerStatuses") or []
    return dict(statuses[0]) if statuses else {}


def _container_status(container: Obj, state: Obj, ready: bool, started: bool) -> Obj:
    return {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": ready,
        "restartCount": 0,
        "image": container["image"],
        "imageID": "",
        "started": started,
    }


def creating(pod: Obj, now: float) -> Obj:
    """The status of a pod that has just come to its node."""
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    statuses = [_container_status(each, waiting, False, False) for each in pod["spec"]["containers"]]
    status = {**(pod.get("status") or {}), "phase": "Pending", "startTime": timestamp(now)}
    status["containerStatuses"] = statuses
    status = with_condition(status, "Initialized", True, now)
    for kind in ("Ready", "ContainersReady"):
        status = with_condition(status, kind, False, now, "ContainersNotReady", _unready(pod))
    return status


def _unready(pod: Obj) -> str:
    names = " ".join(each["name"] for each in pod["spec"]["containers"])
    return f"containers with unready status: [{names}]"


def running(pod: Obj, now: float, address: str) -> Obj:
    """The status of a pod whose containers all run, for the first time or again."""
    ready = note(pod, "never-ready") != "true"
    state = {"running": {"startedAt": timestamp(now)}}
    before = {each["name"]: each for each in dig(pod, "status", "containerStatuses") or ()}
    statuses = []
    for container in pod["spec"]["containers"]:
        fresh = _container_status(container, state, ready, True)
        fresh["containerID"] = f"sandbox://{sha256((pod['metadata']['uid'] + container['name']).encode()).hexdigest()}"
        old = before.get(container["name"])
        statuses.append({**fresh, "restartCount": old["restartCount"], "lastState": old["lastState"]} if old else fresh)
    status = {**(pod.get("status") or {}), "phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return with_readiness(pod, {**status, "containerStatuses": statuses}, ready, now)


def with_readiness(pod: Obj, status: Obj, ready: bool, now: float) -> Obj:
    """The status with its two ready conditions."""
    for kind in ("Ready", "ContainersReady"):
        if ready:
            status = with_condition(status, kind, True, now)
        else:
            status = with_condition(status, kind, False, now, "ContainersNotReady", _unready(pod))
    return status


def _with_main(pod: Obj, main: Obj) -> Obj:
    statuses = [main, *dig(pod, "status", "containerStatuses")[1:]]
    return {**pod["status"], "containerStatuses": statuses}


def ended(pod: Obj, now: float) -> Obj:
    """The status after the main container has ended by itself."""
    main, code = main_status(pod), exit_code(pod)
    terminated = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": dig(main, "state", "running", "startedAt"),
        "finishedAt": timestamp(now),
        "containerID": main.get("containerID", ""),
    }
    status = _with_main(pod, {**main, "state": {"terminated": terminated}, "ready": False, "started": False})
    if pod["spec"]["restartPolicy"] == "Never" or (pod["spec"]["restartPolicy"] == "OnFailure" and not code):
        status = {**status, "phase": "Failed" if code else "Succeeded"}
    return with_readiness(pod, status, False, now)


def restarted(pod: Obj, now: float) -> Obj:
    """The status after the main container, which had ended, runs again."""
    main = main_status(pod)
    last = dig(main, "state", "terminated") or dig(main, "lastState", "terminated")
    ready = note(pod, "never-ready") != "true"
    again = {
        **main,
        "state": {"running": {"startedAt": timestamp(now)}},
        "lastState": {"terminated": last},
        "restartCount": main["restartCount"] + 1,
        "ready": ready,
        "started": True,
    }
    return with_readiness(pod, _with_main(pod, again), ready, now)


def backing_off(pod: Obj, wait: float) -> Obj:
    """The status while the main container, which had ended, is kept from running."""
    main = main_status(pod)
    message = f"back-off {int(wait)}s restarting failed container={main['name']} pod={pod['metadata']['name']}"
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    last = dig(main, "state", "terminated") or dig(main, "lastState", "terminated")
    return _with_main(pod, {**main, "state": waiting, "lastState": {"terminated": last}})
