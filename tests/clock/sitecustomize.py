"""With this folder on PYTHONPATH a Python process has a wrong wall clock; its monotonic clock goes right.

As on a machine without time synchronisation. No part of the product knows of it.
"""

import os
import time

OFF_SECONDS = float(os.environ["CLOCK_OFF_SECONDS"])
_right = time.time


def _wrong() -> float:
    return _right() + OFF_SECONDS


time.time = _wrong
