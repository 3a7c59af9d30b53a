"""Silence: before the first token, within an answer, and before a break."""

from collections.abc import Iterator

from support.faults.row import (
    ANSWERED_ELSEWHERE,
    HALF,
    OTHER,
    OTHER_TEXT,
    REST,
    SAID,
    SAME,
    SILENT_SECONDS,
    Deadline,
    Fault,
    Port,
    failed,
    restart,
    said,
    switching,
)
from support.faults.steps import (
    GATEWAY,
    STAY_SILENT,
    dribble,
)
from support.upstreams import (
    CLOSE,
    EMPTY,
    HEAD,
    HOLD,
    RESET,
    Script,
)


def faults() -> Iterator[Fault]:
    silences: tuple[tuple[str, Script, Port, Deadline, str], ...] = (
        ("unreachable", (), "full", "connect", "Connections are not accepted"),
        (
            "silent",
            (HOLD,),
            "open",
            "first_token",
            "The request is accepted, and no response comes",
        ),
        (
            "head-only",
            (HEAD, HOLD),
            "open",
            "first_token",
            "The head of the response comes at once, but no token",
        ),
        (
            "dribbling",
            (HEAD, EMPTY, dribble),
            "open",
            "first_token",
            "Comments, role chunks and empty chunks come, but no token",
        ),
    )
    for name, script, port, deadline, words in silences:
        asked = 0 if port == "full" else 1
        yield Fault(
            name=name,
            words=words,
            conduct=f"Waits for `{deadline}_seconds`, closes the call, and calls the fallback.",
            primary=(script,),
            port=port,
            events=(switching("provider_timeout"), said(OTHER_TEXT)),
            end=ANSWERED_ELSEWHERE,
            calls=(asked, 1),
            deadline=deadline,
        )
        yield Fault(
            name=f"{name}-alone",
            words=words,
            conduct=f"Waits for `{deadline}_seconds`, closes the call, and fails.",
            primary=(script,),
            fallback=None,
            port=port,
            events=(),
            end=failed(
                "provider_timeout",
                f"{deadline}_timeout",
                "estimated" if deadline == "first_token" else None,
            ),
            calls=(asked, 0),
            deadline=deadline,
        )
    yield from _stalls()
    yield from _silences_that_break()


def _stalls() -> Iterator[Fault]:
    stalls = "Silence in the middle of an answer, the connection open"
    for name, script, events, conduct in (
        ("same", SAME, (said(REST),), "which repeats the answer: continues from there, unnoticed"),
        ("other", OTHER, (restart("provider_timeout"), said(OTHER_TEXT)), "and sends `restart`"),
    ):
        yield Fault(
            name=f"stalled-{name}",
            words=stalls,
            conduct=f"Waits for `idle_seconds`, closes the call, and calls the fallback, {conduct}.",
            primary=((HALF, HOLD),),
            fallback=script,
            events=(said(SAID), switching("provider_timeout"), *events),
            end=ANSWERED_ELSEWHERE,
            calls=(1, 1),
            deadline="idle",
        )
    yield Fault(
        name="stalled-alone",
        words=stalls,
        conduct="Waits for `idle_seconds`, closes the call, and fails.",
        primary=((HALF, HOLD),),
        fallback=None,
        events=(said(SAID),),
        end=failed("provider_timeout", "idle_timeout", "estimated"),
        calls=(1, 0),
        deadline="idle",
    )


def _silences_that_break() -> Iterator[Fault]:
    before = "with no token so far"
    rows: tuple[tuple[str, Script, str, Deadline], ...] = (
        ("no-head-close", (STAY_SILENT, CLOSE), f"closed, {before}", "first_token"),
        ("no-head-reset", (STAY_SILENT, RESET), f"reset, {before}", "first_token"),
        ("no-head-504", (STAY_SILENT, GATEWAY), f"answered by a 504, {before}", "first_token"),
        (
            "head-close",
            (HEAD, STAY_SILENT, CLOSE),
            f"closed after the head, {before}",
            "first_token",
        ),
        ("close", (HALF, STAY_SILENT, CLOSE), "closed in the middle of the answer", "idle"),
        ("reset", (HALF, STAY_SILENT, RESET), "reset in the middle of the answer", "idle"),
        ("tidy", (HALF, STAY_SILENT), "ended without a finish reason", "idle"),
    )
    for name, script, words, deadline in rows:
        has_begun = deadline == "idle"
        first = (said(SAID),) if has_begun else ()
        again = (restart("provider_timeout"),) if has_begun else ()
        yield Fault(
            name=f"silent-then-{name}",
            words=f"Silence for more than half of `{deadline}_seconds`; then the call is {words}",
            conduct="Treated as silence: no retry; calls the fallback.",
            primary=(script,),
            events=(*first, switching("provider_timeout"), *again, said(OTHER_TEXT)),
            end=ANSWERED_ELSEWHERE,
            calls=(1, 1),
            deadline=deadline,
            silent_seconds=SILENT_SECONDS,
        )
    yield Fault(
        name="silent-then-close-alone",
        words="Silence for more than half of `idle_seconds`; then the call is closed in the middle "
        "of the answer",
        conduct="Treated as silence: no retry, and fails.",
        primary=((HALF, STAY_SILENT, CLOSE),),
        fallback=None,
        events=(said(SAID),),
        end=failed("provider_timeout", "idle_timeout", "estimated"),
        calls=(1, 0),
        deadline="idle",
        silent_seconds=SILENT_SECONDS,
    )
