"""The programs of the control plane: built once from Go modules, kept in a cache folder outside the repository.

A cached program is found by the versions in its folder's name, so an upgrade builds anew and an old checkout still
finds its own. Builds need Go on the PATH and its module proxy; what is cached needs neither.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).parent
KUBERNETES = "v1.37.1"
KWOK = "v0.8.0"
HELM = "v4.3.1"
PLATFORM = f"{platform.system().lower()}-{platform.machine()}"
NICENESS = "10"

Say = Callable[[str], None]


class CannotBuild(Exception):
    """The program is not cached, and it cannot be built; the message says why."""


@dataclass(frozen=True)
class Program:
    """`package` is installed at its version, or the module in this folder is built if there is none."""

    name: str
    version: str
    minutes: float
    package: str = ""

    @property
    def path(self) -> Path:
        return cache_folder() / self.key / self.name

    @property
    def key(self) -> str:
        """Name and version; for our own module also what it consists of."""
        if self.package:
            return f"{self.name}-{self.version}-{PLATFORM}"
        content = b"".join((MODULE / part).read_bytes() for part in ("go.mod", "go.sum", "main.go", "keygen.go"))
        return f"{self.name}-{self.version}-{hashlib.sha256(content).hexdigest()[:12]}-{PLATFORM}"

    def command(self, folder: Path) -> list[str]:
        """What leaves the program in a folder that GOBIN names, too."""
        strip = "-s -w"
        if self.package:
            return ["go", "install", "-trimpath", "-ldflags", strip, f"{self.package}@{self.version}"]
        major, minor, _ = self.version.removeprefix("v").split(".")
        # The module proxy does not tell the commit; without a value the user agents would show a template.
        stamp = {"Version": self.version, "Major": major, "Minor": minor, "Commit": "unknown"}
        values = "".join(f" -X k8s.io/component-base/version.git{key}={value}" for key, value in stamp.items())
        flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", strip + values]
        return ["go", "build", *flags, "-o", str(folder / self.name), "."]


CONTROL_PLANE = Program("kubernetes", KUBERNETES, 6)
KWOK_PROGRAM = Program("kwok", KWOK, 1.5, "sigs.k8s.io/kwok/cmd/kwok")
HELM_PROGRAM = Program("helm", HELM, 2.5, "helm.sh/helm/v4/cmd/helm")
PROGRAMS = (CONTROL_PLANE, KWOK_PROGRAM, HELM_PROGRAM)
# What a plane runs; Helm is for those tests that install the chart.
NEEDED = (CONTROL_PLANE, KWOK_PROGRAM)


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "apportion" / "controlplane"


def why_not(*needed: Program) -> str:
    """Why these programs, by default the plane's, cannot be had on this machine; "" if they can."""
    lacking = [program for program in needed or NEEDED if not program.path.exists()]
    if not lacking or shutil.which("go"):
        return ""
    names = ", ".join(program.name for program in lacking)
    return f"the real control plane needs Go on the PATH to build {names}, which {cache_folder()} does not hold"


def build(program: Program, say: Say) -> Path:
    """The program's path, after building it if need be. Raises CannotBuild."""
    if program.path.exists():
        return program.path
    with only_one(program, say):
        if not program.path.exists():
            _build(program, say)
    return program.path


def _build(program: Program, say: Say) -> None:
    if shutil.which("go") is None:
        raise CannotBuild(f"{program.name} {program.version} is not in {cache_folder()}, and Go is not on the PATH")
    say(f"building {program.name} {program.version}, once: about {program.minutes:g} min on two cores ...")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache_folder()) as folder:
        _run_go(program, Path(folder))
        # Into its place in one step: nobody ever finds half a program there.
        program.path.parent.mkdir(exist_ok=True)
        os.replace(Path(folder) / program.name, program.path)
    say(f"built {program.path} in {time.monotonic() - began:.0f} s")


def _run_go(program: Program, folder: Path) -> None:
    # Tests that run beside the build measure patience in seconds: it stands back.
    polite = ["nice", "-n", NICENESS] if shutil.which("nice") else []
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOBIN": str(folder)}
    done = subprocess.run(
        [*polite, *program.command(folder)], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise CannotBuild(f"{program.name} {program.version} did not build:\n{tail}")


@contextlib.contextmanager
def only_one(program: Program, say: Say) -> Iterator[None]:
    """One process at a time builds a program; the lock ends with its holder, however that ends."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{program.key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that builds {program.name} ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Binaries:
    """Command beginnings, to which flags are added."""

    etcd: tuple[str, ...]
    apiserver: tuple[str, ...]
    controller_manager: tuple[str, ...]
    scheduler: tuple[str, ...]
    kwok: tuple[str, ...]
    # Makes the key that signs ServiceAccounts' tokens.
    keygen: tuple[str, ...]


def binaries(say: Say = print) -> Binaries:
    """All that a control plane runs, built if need be. Raises CannotBuild.

    etcd and kube-apiserver are taken from the folder KUBEBUILDER_ASSETS if it holds both.
    """
    plane, kwok = str(build(CONTROL_PLANE, say)), str(build(KWOK_PROGRAM, say))
    etcd: tuple[str, ...] = (plane, "etcd")
    apiserver: tuple[str, ...] = (plane, "kube-apiserver")
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS") or os.devnull)
    if all((assets / name).is_file() for name in ("etcd", "kube-apiserver")):
        say(f"etcd and kube-apiserver are those of KUBEBUILDER_ASSETS={assets}")
        etcd, apiserver = (str(assets / "etcd"),), (str(assets / "kube-apiserver"),)
    return Binaries(
        etcd=etcd,
        apiserver=apiserver,
        controller_manager=(plane, "kube-controller-manager"),
        scheduler=(plane, "kube-scheduler"),
        kwok=(kwok,),
        keygen=(plane, "service-account-key"),
    )
