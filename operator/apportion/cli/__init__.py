"""The command line: apportion run | demo | plan | snapshot | explain | crds | sandbox | version."""

from apportion.cli.main import main

__all__ = ["main"]
