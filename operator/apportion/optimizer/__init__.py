"""The integer program: who gets which flavor and how many replicas. The only room that imports PuLP and HiGHS."""

from apportion.optimizer.check import violations
from apportion.optimizer.packing import Placement, departing, place, survivors
from apportion.optimizer.process import warm
from apportion.optimizer.solve import solve

__all__ = ["Placement", "departing", "place", "solve", "survivors", "violations", "warm"]
