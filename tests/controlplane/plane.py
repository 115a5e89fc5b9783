"""A real control plane in a folder: etcd, API server, controllers and scheduler of Kubernetes, and KWOK as kubelets.

Everything blocks; a test with an event loop calls it in a thread: `await asyncio.to_thread(plane.stop_apiserver)`.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import yaml

from controlplane import components, etcd
from controlplane.access import Access, Refused
from controlplane.components import Blueprint, Options, Ports
from controlplane.probe import probe
from controlplane.processes import Failed, Process, free_ports, kill_orphans
from controlplane.programs import Say, binaries

READY_SECONDS = 60
WORKS_SECONDS = 60
LOOK_SECONDS = 0.05


class Plane:
    """One control plane. Its data, logs and kubeconfigs are files in `folder`, which must be empty or absent."""

    def __init__(self, folder: Path, options: Options | None = None, say: Say = print) -> None:
        self.folder = folder
        self.options = options or Options()
        self._say = say
        self._plan: Blueprint
        self.apiserver: Process
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Return when pods run. Raises Failed with the components' last lines, CannotBuild."""
        kill_orphans()
        self._plan = self._prepare()
        store, self.apiserver, *clients = self.processes = self._components()
        try:
            store.start()
            self.start_apiserver()
            for client in components.CLIENTS:
                self._plan.kubeconfig(client).write_text(self._plan.access(client).kubeconfig())
            for process in clients:
                process.start()
            # A ready API server says nothing about the others: only a pod that runs does.
            self._until(lambda: probe(self.admin), "a pod runs on a node", WORKS_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything at once: nothing needs to be saved. The folder stays, for its logs."""
        for process in reversed(self.processes):
            process.kill()

    def start_apiserver(self) -> None:
        """After an outage: the same port, certificate, tokens and data again.

        The other components come back by themselves, after a back-off that grows with each outage: 5 s after the first,
        half a minute after the third within two minutes.
        """
        self.apiserver.start()
        self._until(self._ready, "the API server is ready", READY_SECONDS)

    def stop_apiserver(self) -> None:
        """An outage: requests are refused until `start_apiserver`."""
        self.apiserver.stop()

    def restart_controllers(self) -> None:
        """The garbage collector looks for new kinds of objects when it starts, and then every 30 s only: until it has
        found a kind, what objects of that kind own outlives them."""
        process = next(each for each in self.processes if each.name == "kube-controller-manager")
        process.stop()
        process.start()

    def compact(self) -> int:
        """Make etcd forget all but the newest state, and return its revision.

        The API server keeps a window of its own: only when it starts anew a watch from an older resourceVersion ends
        with 410 Gone.
        """
        return etcd.compact(self._plan.ports.etcd)

    # --- access ------------------------------------------------------------------------------------------------------

    @property
    def admin(self) -> Access:
        return self._plan.access("admin")

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator who may do everything."""
        return self._plan.kubeconfig("admin")

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with just the rights of a ServiceAccount, valid for a day. Raises access.Refused."""
        path = self.folder / f"kubeconfig-{namespace}-{name}"
        path.write_text(self.admin.of_service_account(namespace, name).kubeconfig())
        return path

    def audit(self, user: str = "") -> list[dict[str, Any]]:
        """Finished requests, oldest first (audit.yaml says which); those of one user only, if named."""
        lines = self._plan.audit_log.read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if user in ("", event["user"]["username"])]

    # --- state -------------------------------------------------------------------------------------------------------

    def tails(self) -> str:
        """The last lines of every log, for a failure message."""
        return "\n".join(process.tail() for process in self.processes)

    def _ready(self) -> bool:
        try:
            return bool(self.admin.request("GET", "/readyz") == "ok")
        except (OSError, Refused):
            return False

    def _until(self, holds: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            ended = [process.name for process in self.processes if process.wanted and not process.alive]
            if ended:
                raise Failed(f"{', '.join(ended)} ended before {what}\n{self.tails()}")
            if time.monotonic() > deadline:
                raise Failed(f"not within {seconds:.0f} s: {what}\n{self.tails()}")
            time.sleep(LOOK_SECONDS)

    # --- files -------------------------------------------------------------------------------------------------------

    def _prepare(self) -> Blueprint:
        """Write what the components read before there is an API server."""
        programs = binaries(self._say)
        self.folder.mkdir(parents=True, exist_ok=True)
        # The folder holds tokens of administrators.
        self.folder.chmod(0o700)
        plan = Blueprint(programs, self.options, self.folder.resolve(), Ports(*free_ports(3)), components.new_tokens())
        plan.certificates.mkdir()
        plan.key.write_bytes(subprocess.run(programs.keygen, check=True, capture_output=True).stdout)
        plan.token_file.write_text(components.token_file(plan))
        plan.scheduler_config.write_text(yaml.safe_dump(components.scheduler_configuration(plan)))
        return plan

    def _components(self) -> list[Process]:
        commands = {
            "etcd": components.etcd,
            "kube-apiserver": components.apiserver,
            "kube-controller-manager": components.controller_manager,
            "kube-scheduler": components.scheduler,
            "kwok": components.kwok,
        }
        return [Process(name, command(self._plan), self._plan.folder) for name, command in commands.items()]
