"""decide(snapshot, policy) -> Decision: pure; all its memory is in the snapshot."""

from apportion.planner.decide import decide

__all__ = ["decide"]
