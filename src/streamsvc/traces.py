"""Exceptions as part of a log line: their class and where they come from, never their text."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

_PACKAGE = Path(__file__).parent

_MOST_FRAMES = 20
"""The maximum number of frames in a log line; an endless recursion has a thousand."""


def describe(exc: BaseException) -> str:
    """Return `fields_of` an exception as text."""
    return " ".join(f"{name}={value}" for name, value in fields_of(exc).items())


def fields_of(exc: BaseException) -> dict[str, str]:
    """Return an exception's class, where it was raised, and our frames in its traceback, for a log line.

    Frames are `file:line:function`, the outermost first. Values, source lines and the exception's text are
    left out: each may contain a prompt or a key.
    """
    passed = [*_frames(exc)]
    while isinstance(exc, BaseExceptionGroup):  # unwrap the groups that task groups raise
        exc = exc.exceptions[0]
        passed += _frames(exc)
    frames = [(Path(code.co_filename), line, code.co_qualname) for code, line in passed]
    place = f"{frames[-1][0].name}:{frames[-1][1]}" if frames else "unknown"
    ours = [
        f"{path.relative_to(_PACKAGE)}:{line}:{function}"
        for path, line, function in frames
        if path.is_relative_to(_PACKAGE)
    ]
    if len(ours) > _MOST_FRAMES:
        ours[_MOST_FRAMES // 2 : -_MOST_FRAMES // 2] = ["..."]
    way = ">".join(ours) or "none"
    return {
        "exception": type(exc).__name__,
        "at": place,
        "causes": causes(exc),
        "frames": way,
    }


def _frames(exc: BaseException) -> Iterator[tuple[CodeType, int]]:
    for frame, line in traceback.walk_tb(exc.__traceback__):
        yield frame.f_code, line


def causes(exc: BaseException) -> str:
    """Return the classes of an exception's causes, nearest first, for a log line."""
    kinds = []
    while (cause := exc.__cause__ or exc.__context__) is not None:
        kinds.append(type(cause).__name__)
        exc = cause
    return "<".join(kinds) or "none"


def drop_frames(exc: BaseException) -> None:
    """Drop the tracebacks of an exception, of its causes and of the members of a group.

    A frame that keeps the exception is part of a cycle, and what else it has, such as a prompt with megabytes of
    images, would wait for the garbage collector.
    """
    seen: set[int] = set()
    rest: list[BaseException | None] = [exc]
    while rest:
        if (one := rest.pop()) is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None  # not `clear_frames`: one may be of a coroutine that still runs
        rest += [one.__cause__, one.__context__]
        rest += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
