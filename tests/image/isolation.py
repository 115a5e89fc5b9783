"""A process that sees a folder as its whole file system, by namespaces of Linux: no container engine is needed.

Root takes a mount namespace; who is not root takes a user namespace as well, where the machine allows that. What is not
named as a mount is the folder itself; the network is the machine's own.
"""

import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("unshare", "setpriv", "mount", "umount", "pivot_root")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DEVICES = ("null", "zero", "full", "random", "urandom")
MACHINE = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "etc")
"""Where a base image has its programs, the machine's are mounted, read-only."""
PLACES = ("dev", "proc", "mnt", "root", "tmp", "var/tmp", "home", "run")


@dataclass(frozen=True)
class Mount:
    """`source` of this machine at the absolute path `target` inside."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Cell:
    """`user` "": the builder's root, who may write everywhere in `root`; else UID:GID, without any capability, and only
    what is mounted as writable can be written."""

    root: Path
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = ""

    def command(self, *words: str) -> list[str]:
        """What runs `words` inside, as process 1 there. It dies with this command, which does not pass signals on."""
        spaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        mine = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        return ["unshare", *mine, *spaces, "sh", "-c", self._script(words)]

    def _script(self, words: Iterable[str]) -> str:
        root, devices = str(self.root), str(self.root / "dev")
        lines = [
            ["set", "-e"],
            ["export", f"PATH={SYSTEM_PATH}"],
            ["umask", "022"],
            ["mount", "--bind", root, root],
            ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", devices],
            *(["touch", f"{devices}/{name}"] for name in DEVICES),
            *(["mount", "--bind", f"/dev/{name}", f"{devices}/{name}"] for name in DEVICES),
            ["ln", "-s", "/proc/self/fd", f"{devices}/fd"],
            ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ]
        for mount in self.mounts:
            target = root + mount.target
            lines.append(["mount", "--bind", str(mount.source), target])
            if not mount.writable:
                lines.append(["mount", "-o", "remount,bind,ro", target])
        if self.user:
            lines += [["mount", "-o", "remount,bind,ro", place] for place in (devices, root)]
        lines += [["cd", root], ["pivot_root", ".", "mnt"], ["umount", "-l", "/mnt"], ["cd", self.folder]]
        values = [f"{name}={value}" for name, value in self.environment.items()]
        lines.append(["exec", *self._as_user(), "env", "-i", *values, *words])
        return "\n".join(shlex.join(line) for line in lines)

    def _as_user(self) -> list[str]:
        if not self.user:
            return []
        user, _, group = self.user.partition(":")
        bare = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        if os.geteuid() == 0:
            return [*bare, f"--reuid={user}", f"--regid={group}", f"--groups={group}"]
        return ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", *bare]


def prepare(root: Path) -> list[Mount]:
    """Make the empty folder `root` one in which the machine's programs run; what has to be mounted for that."""
    for place in PLACES:
        (root / place).mkdir(parents=True, exist_ok=True)
    mounts = []
    for name in MACHINE:
        ours = Path("/", name)
        if ours.is_symlink():
            (root / name).symlink_to(os.readlink(ours))
        elif ours.is_dir():
            (root / name).mkdir(exist_ok=True)
            mounts.append(Mount(ours, f"/{name}"))
    return mounts


@functools.cache
def why_not() -> str:
    """Why no process can be shut in here; "" where it works."""
    lacking = [program for program in PROGRAMS if not shutil.which(program, path=SYSTEM_PATH)]
    if lacking:
        return f"a folder as a file system needs {', '.join(lacking)}, of Debian's util-linux and mount"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        cell = Cell(root, tuple(prepare(root)), user="65532:65532")
        done = subprocess.run(cell.command("true"), capture_output=True, text=True, check=False)
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return "" if done.returncode == 0 else f"this machine lets no process be shut in a folder: {said}"
