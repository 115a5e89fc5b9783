"""The build context: the files of a folder that .dockerignore lets through."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path


def context_files(folder: Path) -> Iterator[Path]:
    """Relative paths of the files that a builder is sent. Folders that git does not know are read as well."""
    ignored = folder / ".dockerignore"
    rules = list(_rules(ignored.read_text().splitlines() if ignored.exists() else ()))
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and _is_sent(inside, rules):
            yield inside


def _rules(lines: Iterable[str]) -> Iterator[tuple[re.Pattern[str], bool]]:
    """(what it matches, whether that is sent)"""
    for line in lines:
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            sent = pattern.startswith("!")
            yield _regex(pattern.removeprefix("!").strip("/")), sent


def _regex(pattern: str) -> re.Pattern[str]:
    """As Docker reads it: from the folder's root, `*` within one name, `**` any folders, also none."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern)))


def _is_sent(path: Path, rules: Iterable[tuple[re.Pattern[str], bool]]) -> bool:
    """The last rule that matches the path, or a folder above it, counts."""
    above = [path.as_posix(), *(parent.as_posix() for parent in path.parents)]
    sent = True
    for regex, says in rules:
        if any(regex.fullmatch(each) for each in above):
            sent = says
    return sent
