"""Programs that tests use and that may not be here: skipped with a reason, but where changes are merged that fails."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from controlplane import programs


def missing(reason: str) -> NoReturn:
    """A developer's tests are skipped; where CI is true they fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def tool(name: str) -> str:
    """The path of a program: what $NAME says, beside this Python, or from the PATH; Helm is built where Go is."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = os.environ.get(name.upper()) or beside or shutil.which(name)
    if found:
        return found
    if name == "helm" and not programs.why_not(programs.HELM_PROGRAM):
        return str(programs.build(programs.HELM_PROGRAM, print))
    missing(f"{name} is neither on the PATH nor named by ${name.upper()}")
