"""Every fault of an upstream that streamsvc must survive, and what it does, as one row each.

`test_faults` plays each row on real sockets, with either API as the primary and the other one as the fallback, and
compares both sides. `uv run just tables` writes the rows to `docs/reference/faults.md`.
"""

from support.faults import before, bodies, ends, refusals, silence, within
from support.faults.row import Fault

FAULTS: tuple[Fault, ...] = (
    *before.faults(),
    *silence.faults(),
    *within.faults(),
    *ends.faults(),
    *bodies.faults(),
    *refusals.faults(),
)
