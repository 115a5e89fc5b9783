"""Elastic GPU and TPU allocation for Kubernetes: who gets how many replicas, on which accelerator, and why."""

__version__ = "0.1.0"
