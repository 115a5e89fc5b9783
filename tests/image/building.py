"""Follows a Dockerfile's steps in folders, one for each stage.

The base image is python:X.Y-slim. In its place stands this machine: its programs and libraries, read-only, and its own
python of the version X.Y at /usr/local, where the base image has it. So a step that installs something of the system
fails here, and a library that this machine has and the base image has not is not missed.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from image.context import context_files
from image.dockerfile import NoImage, Stage, Step, expanded, parse
from image.isolation import Cell, Mount, prepare
from image.layers import Layers, origins

BASE = re.compile(r"python:(\d+\.\d+)-slim")
LOCAL = "/usr/local"
BASE_ENVIRONMENT = {"PATH": f"{LOCAL}/bin:{LOCAL}/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# How pip gets out of here, as Docker passes the proxies on.
WAYS_OUT = re.compile(r"(?i:(https?|no)_proxy)|PIP_(CERT|(EXTRA_)?INDEX_URL|TRUSTED_HOST|PROXY|DEFAULT_TIMEOUT)")


@dataclass(frozen=True)
class Image:
    """What the last stage left: its file system is the folder `root`, with `mounts` in it, which are read-only."""

    root: Path
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(BASE_ENVIRONMENT))
    folder: str = "/"
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def cell(self, *mounts: Mount, **environment: str) -> Cell:
        """Where its container runs: as its user, with nothing writable but those of `mounts` that say so."""
        for mount in mounts:
            (self.root / mount.target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        values = {**self.environment, **environment}
        return Cell(self.root, (*self.mounts, *mounts), values, self.folder, self.user)


def build(context: Path, folder: Path, layers: Layers | None = None) -> Image:
    """Follow the Dockerfile of `context` in `folder`, which must be empty. Raises NoImage with what a step said.

    What a RUN leaves is taken from `layers` where it is there.
    """
    stages = parse((context / "Dockerfile").read_text())
    made: dict[str, Image] = {}
    for number, stage in enumerate(stages):
        made[stage.name or str(number)] = last = _follow(stage, context, folder / f"stage-{number}", made, layers)
    for image in made.values():
        if image is not last:
            shutil.rmtree(image.root)
    return last


def _follow(stage: Stage, context: Path, root: Path, made: Mapping[str, Image], layers: Layers | None) -> Image:
    image = _base(stage.base, root)
    python = subprocess.run([BASE.sub(r"python\1", stage.base), "-VV"], capture_output=True, text=True, check=True)
    known = origins(stage, context, stage.base + python.stdout)
    for number, step in enumerate(stage.steps):
        match step.instruction:
            case "RUN" if layers is not None and number < len(known):
                run = partial(_run, image, step.words[0])
                layers.after(f"{root.name}-step-{number}", known[number], root, run)
            case "RUN":
                _run(image, step.words[0])
            case "COPY":
                _copy(image, step, context, made)
            case _:
                image = _set(image, step)
    return image


def _base(name: str, root: Path) -> Image:
    known = BASE.fullmatch(name)
    if known is None:
        raise NoImage(f"the base image {name} has no stand-in here: python:X.Y-slim has")
    program = f"python{known[1]}"
    asked = [program, "-c", "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"]
    if not shutil.which(program):
        raise NoImage(f"the stand-in for {name} is this machine's {program}, which is not on the PATH")
    prefix, version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    if version != known[1]:
        raise NoImage(f"{program} of this machine is Python {version}, and {name} is asked for")
    root.mkdir(parents=True)
    mounts = prepare(root)
    if Path(prefix) not in (Path("/usr"), Path(LOCAL)):
        # Also in its own place: its shared library is looked for there.
        mounts += [Mount(Path(prefix), LOCAL), Mount(Path(prefix), prefix)]
        (root / prefix.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif Path(prefix) == Path("/usr"):
        mounts.append(Mount(_named_python(root, program), LOCAL))
    return Image(root, tuple(mounts))


def _named_python(root: Path, program: str) -> Path:
    """A folder for /usr/local: a distribution's python is at /usr/bin/python3.11, the base image's is `python`."""
    local = root / "root" / "local"
    (local / "bin").mkdir(parents=True)
    (local / "bin" / "python").symlink_to(f"/usr/bin/{program}")
    return local


def _set(image: Image, step: Step) -> Image:
    match step.instruction:
        case "ENV":
            values = dict(word.split("=", 1) for word in step.words)
            new = {name: expanded(value, image.environment) for name, value in values.items()}
            return replace(image, environment={**image.environment, **new})
        case "WORKDIR":
            place = os.path.join(image.folder, expanded(step.words[0], image.environment))
            (image.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
            return replace(image, folder=place)
        case "USER":
            return replace(image, user=step.words[0])
        case "ENTRYPOINT":
            return replace(image, entrypoint=step.words)
        case "CMD":
            return replace(image, arguments=step.words)
    raise NoImage(f"this instruction is not followed: {step.instruction}")


def _run(image: Image, line: str) -> None:
    if image.user:
        raise NoImage(f"RUN is followed as root only, and {image.user} is the user of: {line}")
    out = {name: value for name, value in os.environ.items() if WAYS_OUT.fullmatch(name)}
    cell = Cell(image.root, image.mounts, {"HOME": "/root", **out, **image.environment}, image.folder)
    done = subprocess.run(
        cell.command("/bin/sh", "-c", line), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise NoImage(f"exit status {done.returncode} of RUN {line}\n{tail}")


def _copy(image: Image, step: Step, context: Path, made: Mapping[str, Image]) -> None:
    *sources, wanted = (expanded(word, image.environment) for word in step.words)
    target = image.root / os.path.join(image.folder, wanted).lstrip("/")
    into = wanted.endswith("/") or wanted == "."
    if len(sources) > 1 and not into:
        raise NoImage(f"several files are copied to what is no folder: {shlex.join(step.words)}")
    for source in sources:
        place = target / Path(source).name if into else target
        if step.source is None:
            _copy_context(context, source.strip("/"), target if (context / source).is_dir() else place)
        else:
            _copy_stage(made[step.source], source, target, place)


def _copy_context(context: Path, source: str, place: Path) -> None:
    """A folder's content, or one file, as far as it belongs to the context."""
    found = [path for path in context_files(context) if path == Path(source) or Path(source) in path.parents]
    if not found:
        raise NoImage(f"COPY finds no {source} in the build context: see .dockerignore")
    for path in found:
        to = place / path.relative_to(source) if (context / source).is_dir() else place
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(context / path, to)


def _copy_stage(stage: Image, source: str, target: Path, place: Path) -> None:
    found = stage.root / source.lstrip("/")
    if found.is_dir():
        # As links: of the two only this stage lasts.
        shutil.copytree(found, target, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
    elif found.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(found, place)
    else:
        raise NoImage(f"COPY finds no {source} in the stage that it names")
