"""What the service adds to the scope of a request, and what a scope keeps while a stream lasts."""

from starlette.types import Scope

NOTE = "streamsvc.note"
"""Where a scope has the note of its request."""

TRACE = "streamsvc.trace"
"""Where a scope has the trace of its request, if it has one."""

_AT_THE_END = ("type", "method", "route", NOTE, TRACE)
"""What is read when a stream ends: the method by uvicorn, too (0.54)."""


def forget_request(scope: Scope) -> None:
    """Remove everything that is read at the beginning of a stream only; call it on our own server.

    Browsers send kilobytes of header fields, and all else takes 0.9 kB (CPython 3.11).
    """
    scope["headers"].clear()
    kept = {}
    for name in _AT_THE_END:  # not a comprehension, which is one more call before CPython 3.12
        if name in scope:
            kept[name] = scope[name]
    scope.clear()
    scope.update(kept)
