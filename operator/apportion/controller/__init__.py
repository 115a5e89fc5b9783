"""The operator process: watches, one allocator task, election, probes. The only room that imports kopf."""

from apportion.controller.app import run

__all__ = ["run"]
