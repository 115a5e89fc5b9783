"""Python's collector of cycles stops every thread while it looks at all objects: 0.1 to 0.4 s where thousands of nodes
and pods are known, several times in a burst of jobs. What is known stays: it is looked at seldom, at a chosen time.
"""

import gc

# The young are collected after so many new objects (Python: 700), the old after so many collections of the young.
NEW_OBJECTS = 10_000
COLLECTIONS = 20


def collect_seldom() -> None:
    """For a process that keeps much and makes few cycles."""
    gc.set_threshold(NEW_OBJECTS, COLLECTIONS, COLLECTIONS)


def set_aside() -> None:
    """Collect everything once, now; what is left is not looked at again until the next call."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
