"""The integer program: who gets which flavor and how many replicas. The only room that imports PuLP and HiGHS."""

from apportion.optimizer.appraisal import Appraisal
from apportion.optimizer.check import Use, promised_use, quota_breaches, violations
from apportion.optimizer.filling import Filling, Offer
from apportion.optimizer.packing import Placement, place
from apportion.optimizer.pricing import Pricing, RowUse, Step
from apportion.optimizer.process import warm
from apportion.optimizer.sketching import Sketch
from apportion.optimizer.solve import solve, would_grow
from apportion.optimizer.staying import claim_of, departing, survivors
from apportion.optimizer.telling import kept
from apportion.optimizer.value import Rates

__all__ = [
    "Appraisal",
    "Filling",
    "Offer",
    "Placement",
    "Pricing",
    "Rates",
    "RowUse",
    "Sketch",
    "Step",
    "Use",
    "claim_of",
    "departing",
    "kept",
    "place",
    "promised_use",
    "quota_breaches",
    "solve",
    "survivors",
    "violations",
    "warm",
    "would_grow",
]
