"""Turns for tests that run side by side: one that compares times runs while no other does.

The workers of pytest-xdist are processes, so the turns are locks on two files. A test holds `running` shared; one
that needs quiet holds it exclusively. `gate` keeps further tests from overtaking the one that waits for quiet.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coverage import Coverage


@contextmanager
def turn(place: Path, *, quiet: bool) -> Iterator[None]:
    """Hold a turn.

    Args:
        place: a directory that all workers share.
        quiet: whether no other test may run.
    """
    with (place / "gate").open("w") as gate, (place / "running").open("w") as running:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if quiet else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def unmeasured() -> Iterator[None]:
    """Measure no coverage, here and in processes that start meanwhile: it doubles the CPU time of Python."""
    names = [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]
    held = {name: os.environ.pop(name) for name in names}
    coverage = Coverage.current() if held else None
    if coverage:
        coverage.stop()
    try:
        yield
    finally:
        os.environ.update(held)
        if coverage:
            coverage.start()
