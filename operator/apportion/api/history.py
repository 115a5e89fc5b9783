"""Recorded rounds as files of one folder: one file a round, written whole or not at all, the oldest removed first.

A file is JSON of a `Round` with its format and version, compressed by gzip; its name begins with the time of the
snapshot, so that names in order are rounds in order.
"""

import contextlib
import dataclasses
import gzip
import json
import os
import secrets
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, get_type_hints

from apportion.api.parse import printable, shown
from apportion.api.plain import NotPlain, form_of, typed
from apportion.model.rounds import Round

FORMAT = "apportion.dev/round"
VERSION = 1
ENDING = ".round.json.gz"
MOST_BYTES = 1024 * 1024 * 1024
"""Of one file, unpacked: a small file may stand for more than fits into memory."""
UNFINISHED_SECONDS = 600.0
LEVEL = 6


class UnreadableRound(Exception):
    """`path` is the file; str() is one line that names it and says what was expected."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{printable(str(self.path), 200)}: {self.message}"


def write_round(folder: Path, round_: Round, most_bytes: int) -> Path:
    """Add the round, after the oldest files have made room for it. Raises OSError; then nothing is left of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_time(round_.snapshot.now)}-{secrets.token_hex(3)}{ENDING}"
    part = folder / f".{path.name}.part"
    try:
        with part.open("xb") as raw:
            with gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as sink:
                for piece in pieces(round_):
                    sink.write(piece.encode())
            raw.flush()
            os.fsync(raw.fileno())
            size = raw.tell()
        make_room(folder, most_bytes - size)
        part.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _sync(folder)
    return path


def pieces(round_: Round) -> Iterator[str]:
    """The JSON text in small pieces: one large one would keep every other thread from running meanwhile."""
    head = json.dumps({"format": FORMAT, "version": VERSION})
    yield f"{head[:-1]}"
    yield from (text for name in _names(Round) for text in _field(name, Round, round_))
    yield "}\n"


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _field(name: str, kind: type, value: Any) -> Iterator[str]:
    """`, "name": ...`; lists and the mappings above them piece by piece."""
    annotation, inner = get_type_hints(kind)[name], getattr(value, name)
    yield f', "{name}": '
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        below = (text for part in _names(annotation) for text in _field(part, annotation, inner))
        yield "{" + next(below)[2:]
        yield from below
        yield "}"
        return
    written = form_of(annotation).write
    if isinstance(inner, tuple) and inner and written is not None:
        item = form_of(annotation.__args__[0])
        for index, one in enumerate(inner):
            yield ("[" if not index else ", ") + _text(one if item.write is None else item.write(one))
        yield "]"
        return
    yield _text(inner if written is None else written(inner))


def _text(raw: Any) -> str:
    return json.dumps(raw, allow_nan=False, separators=(",", ":"))


def make_room(folder: Path, most_bytes: int) -> None:
    """Remove the oldest rounds until the rest has at most so many bytes, and what a crash left unfinished long ago."""
    for left in folder.glob(f".*{ENDING}.part"):
        with contextlib.suppress(OSError):
            if datetime.now(UTC).timestamp() - left.stat().st_mtime > UNFINISHED_SECONDS:
                left.unlink(missing_ok=True)
    sizes = [(path, path.stat().st_size) for path in sorted(folder.glob(f"*{ENDING}"))]
    total = sum(size for _, size in sizes)
    for path, size in sizes:
        if total <= most_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size


def _sync(folder: Path) -> None:
    """The name is on the disk too; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_time(now: float) -> str:
    """20261201T080000.000Z."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"


def round_files(folder: Path) -> list[Path]:
    """All files in order, also foreign ones (they are refused when they are read), but nothing unfinished. Raises
    OSError."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def read_round(path: Path) -> Round:
    """Raises UnreadableRound, whatever the file holds."""
    raw = _document(path)
    if raw.pop("format", None) != FORMAT:
        raise UnreadableRound(path, f"expected a recorded round (format {FORMAT})")
    version = raw.pop("version", None)
    if version != VERSION:
        raise UnreadableRound(path, f"expected version {VERSION} of the format, not {shown(version)}")
    try:
        found: Round = typed(Round, raw)
    except NotPlain as error:
        raise UnreadableRound(path, str(error)) from None
    return found


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = _unpacked(file)
        if len(data) > MOST_BYTES:
            raise UnreadableRound(path, f"expected at most {MOST_BYTES // 2**20} MiB")
        raw = json.loads(data)
    except (EOFError, zlib.error):
        raise UnreadableRound(path, "expected a whole gzip file; the end of this one is missing or broken") from None
    except gzip.BadGzipFile as error:
        raise UnreadableRound(path, f"expected a gzip file: {printable(str(error), 80)}") from None
    except OSError as error:
        raise UnreadableRound(path, f"expected a readable file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableRound(path, f"expected JSON: {printable(str(error), 120)}") from None
    if not isinstance(raw, dict):
        raise UnreadableRound(path, f"expected a mapping, not {shown(raw)}")
    return raw


def _unpacked(file: IO[bytes]) -> bytes:
    with gzip.GzipFile(fileobj=file) as unpacked:
        data = unpacked.read(MOST_BYTES + 1)
    if not data:
        raise EOFError
    return data
