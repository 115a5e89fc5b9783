"""What RUN steps have left behind, kept for the next build, as a container engine's builder keeps its layers."""

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from image.dockerfile import Stage


@dataclass(frozen=True)
class Layers:
    """Below `folder`: the last file system that each step has left, of about 400 MB."""

    folder: Path

    def after(self, step: str, origin: str, root: Path, run: Callable[[], None]) -> None:
        """Make `root` what it is after that step: by running it only if what is kept has another origin."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / f"{step}-{origin}"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if kept.exists():
                shutil.rmtree(root)
                _copy(kept, root)
                return
            run()
            for old in self.folder.glob(f"{step}-*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(prefix=".keeping-", dir=self.folder) as half:
                _copy(root, Path(half) / kept.name)
                # Into its place in one step: nobody ever finds half a layer there.
                (Path(half) / kept.name).rename(kept)


def origins(stage: Stage, context: Path, base: str) -> list[str]:
    """For each step all that it comes from, from `base` on, in short.

    It ends where a folder is copied, or from another stage: sources change too often to keep anything of them.
    """
    found, all_so_far = [], hashlib.sha256(base.encode())
    for step in stage.steps:
        all_so_far.update(repr(step).encode())
        if step.instruction == "COPY":
            files = [context / name for name in step.words[:-1]]
            if step.source is not None or not all(file.is_file() for file in files):
                break
            for file in files:
                all_so_far.update(hashlib.sha256(file.read_bytes()).digest())
        found.append(all_so_far.hexdigest()[:16])
    return found


def _copy(folder: Path, to: Path) -> None:
    """With times, links and rights; without reading the data where the file system can share it."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(folder), str(to)], check=True)
