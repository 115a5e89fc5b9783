"""How the steps of a Dockerfile and the rules of .dockerignore are read, and what is refused."""

from pathlib import Path

import pytest

from image.building import build
from image.context import context_files
from image.dockerfile import NoImage, Stage, Step, expanded, parse


def test_a_dockerfile_is_read_as_stages_and_steps() -> None:
    text = """
# syntax=docker/dockerfile:1
FROM python:3.11-slim AS builder
COPY a b ./
RUN one \\
# in between
 && two
FROM python:3.11-slim
LABEL any="thing"
COPY --from=builder /opt/x /opt/x
ENV PATH=/opt/x/bin:$PATH \\
    HOME="/a b"
USER 65532:65532
ENTRYPOINT ["python", "-m", "x"]
"""
    builder = Stage("python:3.11-slim", "builder", (Step("COPY", ("a", "b", "./")), Step("RUN", ("one  && two",))))
    last = Stage(
        "python:3.11-slim",
        "",
        (
            Step("COPY", ("/opt/x", "/opt/x"), "builder"),
            Step("ENV", ("PATH=/opt/x/bin:$PATH", "HOME=/a b")),
            Step("USER", ("65532:65532",)),
            Step("ENTRYPOINT", ("python", "-m", "x")),
        ),
    )
    assert parse(text) == [builder, last]
    assert expanded("/opt/x/bin:$PATH:${HOME}:$NONE", {"PATH": "/bin", "HOME": "/root"}) == "/opt/x/bin:/bin:/root:"


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("ADD a /a", "this instruction is not followed: ADD"),
        ("RUN --mount=type=cache,target=/c x", "only RUN with a line for the shell"),
        ("COPY --chown=1 a /a", "this option is not followed"),
        ("COPY a b /c", "copied to what is no folder"),
        ("COPY hidden /a", "COPY finds no hidden in the build context"),
    ],
)
def test_what_is_not_followed_is_refused(tmp_path: Path, step: str, says: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.11-slim\n{step}\n")
    (tmp_path / ".dockerignore").write_text("hidden\n")
    (tmp_path / "hidden").touch()
    with pytest.raises(NoImage, match=says):
        build(tmp_path, tmp_path / "made")


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("debian:12", "the base image debian:12 has no stand-in here"),
        ("python:3.11", "the base image python:3.11 has no stand-in here"),
        ("python:3.99-slim", "this machine's python3.99, which is not on the PATH"),
    ],
)
def test_a_base_image_that_nothing_stands_in_for_is_refused(tmp_path: Path, base: str, says: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\n")
    with pytest.raises(NoImage, match=says):
        build(tmp_path, tmp_path / "made")


def test_the_context_is_what_the_last_rule_lets_through(tmp_path: Path) -> None:
    for name in ("README.md", "secret.txt", "src/a.py", "src/b.pyc", "src/deep/c.py", "src/deep/__pycache__/c.pyc"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / ".dockerignore").write_text("# a comment\n*\n!README.md\n!src\n**/__pycache__\nsrc/*.pyc\n")
    assert [str(path) for path in context_files(tmp_path)] == ["README.md", "src/a.py", "src/deep/c.py"]
