"""A virtual clock around the planner's decide(): arrivals, work, restarts, failures and pods without any cluster."""

from apportion.simulator.account import Account
from apportion.simulator.arrivals import Arrival, Noise
from apportion.simulator.comparing import Interval, difference, mean
from apportion.simulator.failures import Failures
from apportion.simulator.generator import Ground, Mix, generated, ground_of, mix_of
from apportion.simulator.history import Bins
from apportion.simulator.measuring import Measuring
from apportion.simulator.play import Course, Rules, Step, play
from apportion.simulator.report import Finished, Report, tally
from apportion.simulator.scheduling import Choose, Scheduler, anywhere, least_allocated, left, most_allocated
from apportion.simulator.trace import NotThat, Row, TraceError, arrivals, read_rows, write_rows
from apportion.simulator.trial import METRICS, Contender, Metric, Setting, Trace, Trial, trial
from apportion.simulator.world import Entry, World

__all__ = [
    "METRICS",
    "Account",
    "Arrival",
    "Bins",
    "Choose",
    "Contender",
    "Course",
    "Entry",
    "Failures",
    "Finished",
    "Ground",
    "Interval",
    "Measuring",
    "Metric",
    "Mix",
    "Noise",
    "NotThat",
    "Report",
    "Row",
    "Rules",
    "Scheduler",
    "Setting",
    "Step",
    "Trace",
    "TraceError",
    "Trial",
    "World",
    "anywhere",
    "arrivals",
    "difference",
    "generated",
    "ground_of",
    "least_allocated",
    "left",
    "mean",
    "mix_of",
    "most_allocated",
    "play",
    "read_rows",
    "tally",
    "trial",
    "write_rows",
]
