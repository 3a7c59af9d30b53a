"""Faults before the first token of an answer."""

from collections.abc import Iterator

from support.faults.lasting import rounds
from support.faults.row import (
    ANSWERED,
    ANSWERED_ELSEWHERE,
    FALLBACK,
    OTHER_TEXT,
    PATIENCE_SECONDS,
    REST,
    SAID,
    WELL,
    Fault,
    failed,
    retrying,
    said,
    switching,
)
from support.faults.steps import (
    AGAIN,
    BACKOFFS,
    BROKEN,
    DOWN,
    ERROR_IN_STREAM,
    RATE_LIMITED,
    patience,
)
from support.upstreams import (
    CLOSE,
    HEAD,
    RESET,
)


def faults() -> Iterator[Fault]:
    yield from _rate_limits()
    yield from _server_errors()
    yield from _breaks()
    yield Fault(
        name="error-chunk-at-once",
        words="An error object instead of the first chunk, once",
        conduct="Retries the same provider.",
        primary=((HEAD, ERROR_IN_STREAM), WELL),
        events=(retrying("provider_unavailable"), said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )


def _rate_limits() -> Iterator[Fault]:
    yield Fault(
        name="rate-limited-once",
        words="429 with `Retry-After`, once",
        conduct="Waits as long as it says, then retries.",
        primary=((patience(PATIENCE_SECONDS),), WELL),
        events=(retrying("provider_rate_limited"), said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=(PATIENCE_SECONDS,),
    )
    yield Fault(
        name="rate-limited-for-long",
        words="429 with a `Retry-After` that is longer than `max_backoff_seconds`",
        conduct="Does not wait: calls the fallback at once.",
        primary=((patience(3),),),
        events=(switching("provider_rate_limited"), said(OTHER_TEXT)),
        end=ANSWERED_ELSEWHERE,
        calls=(1, 1),
    )
    yield Fault(
        name="rate-limited-for-too-long-alone",
        words="429 with a `Retry-After` beyond the first-token deadline",
        conduct="Does not wait, because that would be too late: fails at once.",
        primary=((patience(60),),),
        fallback=None,
        events=(),
        end=failed("provider_rate_limited"),
        calls=(1, 0),
    )
    yield from rounds("rate-limited", "429, every time", (RATE_LIMITED,), "provider_rate_limited")


def _server_errors() -> Iterator[Fault]:
    yield Fault(
        name="broken-once",
        words="500, once",
        conduct="Retries the same provider.",
        primary=((BROKEN,), WELL),
        events=(AGAIN, said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    yield from rounds("down", "503, every time", (DOWN,), "provider_unavailable")
    yield Fault(
        name="everybody-down",
        words="503 every time, from the fallback, too",
        conduct="Fails when all providers have had their attempts, or after `max_calls` calls in all.",
        primary=((DOWN,),),
        fallback=(DOWN,),
        events=(
            AGAIN,
            AGAIN,
            switching("provider_unavailable"),
            *(retrying("provider_unavailable", FALLBACK),) * 2,
        ),
        end=failed("provider_unavailable"),
        calls=(3, 3),
        gaps=BACKOFFS,
    )


def _breaks() -> Iterator[Fault]:
    for name, step, words in (
        ("reset", RESET, "The connection is reset before the head of a response"),
        ("hung-up", CLOSE, "The connection is closed before the head of a response"),
    ):
        yield Fault(
            name=f"{name}-once",
            words=f"{words}, once",
            conduct="Retries the same provider.",
            primary=((step,), WELL),
            events=(AGAIN, said(SAID + REST)),
            end=ANSWERED,
            calls=(2, 0),
            gaps=BACKOFFS[:1],
        )
        yield Fault(
            name=f"kept-{name}",
            words=f"{words.replace('The', 'A kept')}",
            conduct="The server has refused nothing: sends the request again on a new connection, unnoticed, "
            "even with `attempts = 1`.",
            primary=((step,), WELL),
            entry={"attempts": 1},
            events=(said(SAID + REST),),
            end=ANSWERED,
            calls=(2, 0),
            gaps=(0.0,),
            is_kept=True,
            unseen=1,
        )
    yield from rounds(
        "reset",
        "The connection is reset before the head of a response, every time",
        (RESET,),
        "provider_unavailable",
    )
    yield from rounds(
        "refused", "Connections are refused, every time", (), "provider_unavailable", port="closed"
    )
