"""Where tests play: on a control plane with an operator that they share, or on one that a test has to itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from integration.operator_process import Operator
from integration.plane import ControlPlane

MakePlane = Callable[[Path], ControlPlane]


class Stage:
    """`single`: all that `make` makes are one control plane, where two sets of operators would fight."""

    def __init__(self, folder: Path, make: MakePlane, single: bool) -> None:
        self._folder = folder
        self._make = make
        self._single = single
        self._shared: tuple[ControlPlane, Operator] | None = None

    def shared(self) -> tuple[ControlPlane, Operator]:
        """The shared plane and its operator, which may not be ready yet."""
        if self._shared is None:
            plane = self._make(self._folder)
            plane.start()
            operator = Operator(plane.operators_kubeconfig, plane.folder, *plane.operator_options, traced=plane.traced)
            operator.start()
            self._shared = plane, operator
        return self._shared

    @contextmanager
    def own(self, folder: Path) -> Iterator[ControlPlane]:
        """A plane without any operator."""
        if self._single:
            self.close()
        plane = self._make(folder)
        plane.start()
        try:
            yield plane
        finally:
            plane.stop()

    def close(self) -> None:
        if self._shared is not None:
            plane, operator = self._shared
            self._shared = None
            operator.stop()
            plane.stop()
