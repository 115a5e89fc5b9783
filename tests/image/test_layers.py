"""When a RUN is followed again, and when what it left before is taken."""

from pathlib import Path

import pytest

from image.dockerfile import parse
from image.layers import Layers, origins

TEXT = """
FROM python:3.11-slim
RUN one
COPY pins.txt other.txt ./
RUN two
COPY sources sources
RUN three
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "sources").mkdir()
    for name in ("pins.txt", "other.txt"):
        (tmp_path / name).write_text("old")
    return tmp_path


def of(context: Path, text: str = TEXT, base: str = "3.11.2") -> list[str]:
    (stage,) = parse(text)
    return origins(stage, context, base)


def test_steps_behind_the_copy_of_a_folder_are_always_followed(context: Path) -> None:
    assert len(of(context)) == 3
    assert of(context, "FROM python:3.11-slim\nCOPY --from=other /a /a\nRUN one\n") == []


def test_a_step_has_another_origin_when_anything_before_it_changes(context: Path) -> None:
    before = of(context)
    assert len(set(before)) == 3
    assert of(context) == before
    assert not set(of(context, base="3.11.3")) & set(before)
    assert not set(of(context, TEXT.replace("one", "1"))) & set(before)
    assert [a == b for a, b in zip(of(context, TEXT.replace("two", "2")), before, strict=True)] == [True, True, False]
    (context / "other.txt").write_text("new")
    assert [a == b for a, b in zip(of(context), before, strict=True)] == [True, False, False]


def test_what_a_step_left_is_taken_until_it_has_another_origin(tmp_path: Path) -> None:
    layers, root, runs = Layers(tmp_path / "layers"), tmp_path / "root", list[str]()

    def after(origin: str) -> str:
        """A build whose step writes its origin over what the step before has left."""
        root.mkdir(exist_ok=True)
        (root / "file").write_text("before")

        def run() -> None:
            runs.append(origin)
            (root / "file").write_text(f"{(root / 'file').read_text()} {origin}")

        layers.after("step-1", origin, root, run)
        return (root / "file").read_text()

    assert [after(origin) for origin in ("a", "a", "b", "b", "a")] == [f"before {each}" for each in "aabba"]
    assert runs == ["a", "b", "a"], "only the last that a step left is kept"


def test_nothing_is_kept_of_a_step_that_failed(tmp_path: Path) -> None:
    layers, root = Layers(tmp_path / "layers"), tmp_path / "root"
    root.mkdir()

    def fails() -> None:
        (root / "half").touch()
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        layers.after("step-1", "a", root, fails)
    layers.after("step-1", "a", root, (root / "whole").touch)
    assert (root / "whole").exists()
