"""Faults after the first token: breaks, garbage, and failures that the stream states."""

from collections.abc import Iterator

from support.faults.row import (
    ANSWERED,
    ANSWERED_ELSEWHERE,
    CHANGED,
    CHANGED_TEXT,
    HALF,
    OTHER,
    OTHER_TEXT,
    PRIMARY,
    REST,
    SAID,
    SAME,
    WELL,
    Fault,
    failed,
    restart,
    retrying,
    said,
    switching,
)
from support.faults.steps import (
    AGAIN,
    BACKOFFS,
    CUT,
    ENDS,
    ERROR_IN_STREAM,
    LINE_BYTES,
    LONG_LINE,
    NO_JSON,
    NO_UTF8,
    ODD,
)
from support.upstreams import (
    CLOSE,
    HOLD,
    Script,
    finish,
    text,
)


def faults() -> Iterator[Fault]:
    for name, (script, words) in ENDS.items():
        yield from _breaks(name, words, script, "upstream_cut")
    yield Fault(
        name="cut-again",
        words="The connection is closed in the middle of an answer, and the next time even earlier",
        conduct="Retries, and continues from what the viewer has.",
        primary=((HALF, CLOSE), (text("The "), CLOSE), WELL),
        events=(said(SAID), CUT, CUT, said(REST)),
        end=ANSWERED,
        calls=(3, 0),
        gaps=BACKOFFS,
    )
    yield from _garbage()
    yield from _stated_failures()


def _garbage() -> Iterator[Fault]:
    for name, step, words in (
        ("no-json", NO_JSON, "A chunk that is not JSON"),
        ("no-utf-8", NO_UTF8, "A chunk that is not UTF-8"),
        ("long-line", LONG_LINE, "A line longer than `max_line_bytes`"),
    ):
        yield Fault(
            name=f"{name}-once",
            words=f"{words}, once",
            conduct="Text may be lost, so this is a cut: retries, and continues unnoticed.",
            primary=((HALF, step, HOLD), WELL),
            entry={"max_line_bytes": LINE_BYTES},
            events=(said(SAID), ODD, said(REST)),
            end=ANSWERED,
            calls=(2, 0),
            gaps=BACKOFFS[:1],
        )
        yield Fault(
            name=f"{name}-alone",
            words=f"{words}, each time",
            conduct="Retries, up to `attempts` calls in all, then fails.",
            primary=((HALF, step, HOLD),),
            fallback=None,
            entry={"max_line_bytes": LINE_BYTES},
            events=(said(SAID), ODD, ODD),
            end=failed("upstream_invalid", usage="estimated"),
            calls=(3, 0),
            gaps=BACKOFFS,
        )


def _stated_failures() -> Iterator[Fault]:
    yield Fault(
        name="error-chunk",
        words="An error object in the middle of an answer, once",
        conduct="Retries, and continues unnoticed.",
        primary=((HALF, ERROR_IN_STREAM), WELL),
        events=(said(SAID), AGAIN, said(REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    for name, word, code in (
        ("error", "error", "upstream_error"),
        ("resource", "insufficient_system_resource", "provider_unavailable"),
    ):
        yield Fault(
            name=f"finish-{name}",
            words=f"The finish reason `{word}`, once",
            conduct="The provider says that it failed: retries, and continues unnoticed.",
            primary=((HALF, finish(word)), WELL),
            events=(said(SAID), retrying(code), said(REST)),
            end=ANSWERED,
            calls=(2, 0),
            gaps=BACKOFFS[:1],
        )


def _breaks(name: str, words: str, script: Script, code: str) -> Iterator[Fault]:
    """Yield the rows of an answer that breaks off."""
    again = retrying(code)
    yield Fault(
        name=f"cut-{name}-same",
        words=f"{words}, once",
        conduct="Retries; the model repeats itself: continues from there, unnoticed.",
        primary=(script, WELL),
        events=(said(SAID), again, said(REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    yield Fault(
        name=f"cut-{name}-changed-alone",
        words=f"{words}, once",
        conduct="Retries; the model answers differently: `restart`, then the new answer.",
        primary=(script, CHANGED),
        fallback=None,
        events=(said(SAID), again, restart(code, PRIMARY), said(CHANGED_TEXT)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    tries = (said(SAID), again, again)
    for how, other, events, conduct in (
        ("same", SAME, (said(REST),), "which repeats the answer: continues from there, unnoticed"),
        ("other", OTHER, (restart(code), said(OTHER_TEXT)), "and sends `restart`"),
    ):
        yield Fault(
            name=f"cut-{name}-for-ever-{how}",
            words=f"{words}, each time",
            conduct=f"Retries, up to `attempts` calls in all, then calls the fallback, {conduct}.",
            primary=(script,),
            fallback=other,
            events=(*tries, switching(code), *events),
            end=ANSWERED_ELSEWHERE,
            calls=(3, 1),
            gaps=BACKOFFS,
        )
    yield Fault(
        name=f"cut-{name}-for-ever-alone",
        words=f"{words}, each time",
        conduct="Retries, up to `attempts` calls in all, then fails; the text stays, but is not a complete answer.",
        primary=(script,),
        fallback=None,
        events=tries,
        end=failed("upstream_cut", "upstream_cut", "estimated"),
        calls=(3, 0),
        gaps=BACKOFFS,
    )
    yield Fault(
        name=f"cut-{name}-no-rescue",
        words=f"{words}, with `rescue = false`",
        conduct="Fails at once; the text stays, but is not a complete answer.",
        primary=(script,),
        rescue=False,
        events=(said(SAID),),
        end=failed("upstream_cut", "upstream_cut", "estimated"),
        calls=(1, 0),
    )
