"""A virtual clock around the planner's decide(): arrivals, work, restarts and pods without any cluster."""

from apportion.simulator.arrivals import Arrival, Noise
from apportion.simulator.play import Course, Rules, Step, play
from apportion.simulator.report import Finished, Report, tally
from apportion.simulator.scheduling import Choose, Scheduler, anywhere, least_allocated, left, most_allocated
from apportion.simulator.world import Account, Entry, World

__all__ = [
    "Account",
    "Arrival",
    "Choose",
    "Course",
    "Entry",
    "Finished",
    "Noise",
    "Report",
    "Rules",
    "Scheduler",
    "Step",
    "World",
    "anywhere",
    "least_allocated",
    "left",
    "most_allocated",
    "play",
    "tally",
]
