"""Lasting faults."""

from collections.abc import Iterator
from typing import Literal

from support.faults.row import (
    ANSWERED_ELSEWHERE,
    OTHER_TEXT,
    Fault,
    Port,
    failed,
    retrying,
    said,
    switching,
)
from support.faults.steps import (
    BACKOFFS,
)
from support.upstreams import (
    Script,
)


def rounds(
    name: str,
    words: str,
    script: Script,
    code: str,
    *,
    port: Port = "open",
    usage: Literal["estimated"] | None = None,
) -> Iterator[Fault]:
    """Yield the rows of a lasting fault: all tries, then the fallback, or a failure without one."""
    asked = 0 if port == "closed" else 3
    tries = (retrying(code), retrying(code))
    yield Fault(
        name=f"{name}-for-ever",
        words=words,
        conduct="Retries with a backoff, up to `attempts` calls in all, then calls the fallback.",
        primary=(script,),
        port=port,
        events=(*tries, switching(code), said(OTHER_TEXT)),
        end=ANSWERED_ELSEWHERE,
        calls=(asked, 1),
        gaps=BACKOFFS if asked else (),
    )
    yield Fault(
        name=f"{name}-for-ever-alone",
        words=words,
        conduct="Retries, up to `attempts` calls in all, then fails.",
        primary=(script,),
        fallback=None,
        port=port,
        events=tries,
        end=failed(code, usage=usage),
        calls=(asked, 0),
        gaps=BACKOFFS if asked else (),
    )
