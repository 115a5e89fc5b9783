"""The embedded cluster: an API server with a simulated scheduler, controllers and kubelets, in one process."""

from apportion.sandbox.clock import Clock, LoopClock, ManualClock
from apportion.sandbox.errors import StatusError
from apportion.sandbox.sandbox import Sandbox

__all__ = ["Clock", "LoopClock", "ManualClock", "Sandbox", "StatusError"]
