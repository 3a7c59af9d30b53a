"""Finish reasons that end an answer, and those that do not."""

from collections.abc import Iterator

from support.faults.row import (
    ANSWERED,
    HALF,
    REST,
    SAID,
    WELL,
    End,
    Fault,
    said,
)
from support.faults.steps import (
    BACKOFFS,
    COUNTED,
    CUT,
    ERROR_IN_STREAM,
    NO_BLANK_LINE,
    NO_DONE,
    NO_JSON,
    PAUSE,
    REASON,
    ZEROS,
    stamped,
)
from support.upstreams import (
    CLOSE,
    HOLD,
    text,
)


def faults() -> Iterator[Fault]:
    yield from _ends_that_are_none()
    yield from _complete_answers()


def _ends_that_are_none() -> Iterator[Fault]:
    """Yield finish reasons that do not mean the end, or that more follows."""
    yield Fault(
        name="stamped",
        words="A finish reason with every chunk, and pauses between",
        conduct="Reads on to the end of the stream.",
        primary=((stamped("The ", "sky "), PAUSE, stamped("is ", "blue."), COUNTED),),
        events=(said(SAID + REST),),
        end=ANSWERED,
        calls=(1, 0),
    )
    yield Fault(
        name="stamped-cut",
        words="A finish reason with every chunk, and the connection is closed in the middle",
        conduct="The reasons mean nothing, so this is a cut: retries, and continues unnoticed.",
        primary=((stamped("The ", "sky "), CLOSE), WELL),
        events=(said(SAID), CUT, said(REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    yield Fault(
        name="stamped-once",
        words="The answer in one chunk with a finish reason, then silence, the connection open",
        conduct="More may follow: waits for `idle_seconds`. The answer counts as complete.",
        primary=((stamped("The sky is blue."), HOLD),),
        events=(said(SAID + REST),),
        end=End(usage="estimated"),
        calls=(1, 0),
        deadline="idle",
    )
    yield Fault(
        name="more-text",
        words="Text after the finish reason",
        conduct="Passes it on.",
        primary=((HALF, REASON, text("is ", "blue."), COUNTED),),
        events=(said(SAID + REST),),
        end=ANSWERED,
        calls=(1, 0),
    )


def _complete_answers() -> Iterator[Fault]:
    complete = "The finish reason counts: completed, with usage, and no further call."
    for name, words, script in (
        ("no-done", "Complete, but without `[DONE]`", (*WELL[:1], NO_DONE)),
        (
            "no-done-cut",
            "Complete, and then the connection breaks instead of ending",
            (*WELL[:1], NO_DONE, CLOSE),
        ),
        (
            "no-done-open",
            "Complete, and then the connection stays open instead of ending",
            (*WELL[:1], NO_DONE, HOLD),
        ),
        (
            "complete-error",
            "Complete, and then an error object",
            (*WELL[:1], NO_DONE, ERROR_IN_STREAM),
        ),
        (
            "complete-garbage",
            "Complete, and then a chunk that is not JSON",
            (*WELL[:1], NO_DONE, NO_JSON),
        ),
        (
            "no-blank-line",
            "The last block lacks its blank line, and the transfer ends normally",
            (*WELL[:1], NO_BLANK_LINE),
        ),
        (
            "zeros",
            "Zeros as usage with the finish reason, and the real usage after it",
            (*WELL[:1], ZEROS, COUNTED),
        ),
    ):
        yield Fault(
            name=name,
            words=words,
            conduct=complete,
            primary=(script,),
            events=(said(SAID + REST),),
            end=ANSWERED,
            calls=(1, 0),
        )
