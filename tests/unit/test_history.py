"""Recorded rounds on a disk that ends, and files that are none."""

import contextlib
import gzip
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apportion.api.history import ENDING, UnreadableRound, read_round, round_files, write_round
from apportion.model.policy import Policy
from apportion.model.rounds import Round
from apportion.planner import decide
from builders import NOW, job, nodes, running, snapshot

PLENTY = 10**9


def a_round(now: float = NOW, jobs: int = 1) -> Round:
    world = snapshot(*(running(job(f"j{index}"), {"h100-0": 1}) for index in range(jobs)), on=nodes(2), now=now)
    return Round(world, Policy(), decide(world, Policy()), leader="me", written_by="0.1.0")


ROUND = a_round()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_round(tmp_path_factory.mktemp("one"), ROUND, PLENTY).read_bytes()


def test_names_in_order_are_rounds_in_order(tmp_path: Path) -> None:
    times = [NOW + index / 8 for index in range(8)]
    for now in reversed(times):
        write_round(tmp_path / "new", a_round(now), PLENTY)
    assert [read_round(path).snapshot.now for path in round_files(tmp_path / "new")] == times


def test_the_oldest_make_room_for_the_newest(tmp_path: Path) -> None:
    size = write_round(tmp_path, a_round(NOW), PLENTY).stat().st_size
    bound = 3 * size + size // 2
    for index in range(1, 8):
        write_round(tmp_path, a_round(NOW + index), bound)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= bound
    assert [read_round(path).snapshot.now for path in round_files(tmp_path)] == [NOW + 5, NOW + 6, NOW + 7]


def test_what_others_keep_in_the_folder_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 100_000)
    write_round(tmp_path, a_round(NOW), 1)
    write_round(tmp_path, a_round(NOW + 1), 1)
    assert [path.name.endswith(ENDING) for path in round_files(tmp_path)] == [True, False]


def test_a_disk_that_ends_in_the_middle_of_a_round_leaves_nothing_of_it(tmp_path: Path) -> None:
    first = write_round(tmp_path, a_round(NOW), PLENTY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_round(tmp_path, a_round(NOW + 1, jobs=40), PLENTY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [first]


def test_what_a_crash_left_is_no_round_and_is_removed_in_time(tmp_path: Path) -> None:
    old, new = tmp_path / f".a{ENDING}.part", tmp_path / f".b{ENDING}.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (1000.0, 1000.0))
    path = write_round(tmp_path, ROUND, PLENTY)
    assert round_files(tmp_path) == [path]
    assert sorted(tmp_path.iterdir()) == sorted([new, path])


def document(written: bytes, change: Callable[[dict[str, Any]], object] = lambda _: None) -> bytes:
    raw = json.loads(gzip.decompress(written))
    change(raw)
    return gzip.compress(json.dumps(raw).encode())


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "expected a whole gzip file; the end of this one is missing or broken"),
    "torn": (lambda good: good[:-20], "expected a whole gzip file; the end of this one is missing or broken"),
    "torn early": (lambda good: good[:200], "expected a whole gzip file; the end of this one is missing or broken"),
    "text": (lambda _: b"hello", "expected a gzip file: Not a gzipped file (b'he')"),
    "no JSON": (lambda _: gzip.compress(b"{"), "expected JSON: Expecting property name"),
    "no mapping": (lambda _: gzip.compress(b"[1]"), "expected a mapping, not a list of 1"),
    "nested": (lambda _: gzip.compress(b"[" * 10**6), "expected JSON: "),
    "another document": (lambda _: gzip.compress(b'{"kind": "List"}'), "expected a recorded round (format"),
    "a newer format": (
        lambda good: document(good, lambda raw: raw.update(version=2)),
        "expected version 1 of the format, not 2",
    ),
    "a field of a newer version": (
        lambda good: document(good, lambda raw: raw["snapshot"]["jobs"][0].update(colour="red")),
        "snapshot.jobs[0].colour: is not known: a newer version may have written it",
    ),
    "a field that is missing": (
        lambda good: document(good, lambda raw: raw["snapshot"]["jobs"][0].pop("uid")),
        "snapshot.jobs[0].uid: is required",
    ),
    "a number that is none": (
        lambda good: document(good, lambda raw: raw["policy"]["objective"].update(exponent="much")),
        'policy.objective.exponent: expected a number, not "much"',
    ),
    "a count that is none": (
        lambda good: document(good, lambda raw: raw["snapshot"]["jobs"][0].update(steps=[1, True])),
        "snapshot.jobs[0].steps[1]: expected an integer, not true",
    ),
    "a curve of no kind": (
        lambda good: document(good, lambda raw: raw["snapshot"]["jobs"][0].update(curve={"Usl": {}, "Points": {}})),
        "snapshot.jobs[0].curve: expected one of Usl, Points",
    ),
    "a name with one part": (
        lambda good: document(good, lambda raw: raw["snapshot"]["jobs"][0].update(key=["team"])),
        "snapshot.jobs[0].key: expected 2 values, not 1",
    ),
    "a mode that is none": (
        lambda good: document(good, lambda raw: raw["policy"].update(mode="Guess")),
        'policy.mode: expected one of Enforce, Observe, Freeze, not "Guess"',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_round_is_named_with_what_was_expected(case: str, written: bytes, tmp_path: Path) -> None:
    spoil, message = REFUSED[case]
    path = tmp_path / "some.round.json.gz"
    path.write_bytes(spoil(written))
    with pytest.raises(UnreadableRound) as refused:
        read_round(path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


def test_a_field_that_an_older_version_did_not_write_has_its_default(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(document(written, lambda raw: raw["policy"].pop("shadows")))
    assert read_round(path) == ROUND


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_stands_in_a_file_it_is_a_round_or_refused(
    data: st.DataObject, written: bytes, tmp_path: Path
) -> None:
    """One value, anywhere in a good file, is another."""
    raw = json.loads(gzip.decompress(written))
    inside: Any = raw
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inside[key], dict | list) or not inside[key] or data.draw(st.booleans()):
            break
        inside = inside[key]
    inside[key] = data.draw(JSON)
    path = tmp_path / "some"
    path.write_bytes(gzip.compress(json.dumps(raw).encode()))
    with contextlib.suppress(UnreadableRound):
        assert isinstance(read_round(path), Round)
