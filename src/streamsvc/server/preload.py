"""Imports codecs that an answer may need, before the first request.

Python imports a codec when it is first used. That fails when no descriptor is left, and would break an answer in
the middle (CPython 3.11; `tests/test_late_imports.py`).
"""

import codecs

_CODECS = ("ascii", "idna", "latin-1", "utf-8", "utf-16-le", "utf-8-sig")


def preload() -> None:
    """Import the codecs."""
    for name in _CODECS:
        codecs.lookup(name)
