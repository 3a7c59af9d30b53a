"""Bodies under 200 that are not an event stream, and empty answers."""

from collections.abc import Iterator

from support.faults.lasting import rounds
from support.faults.row import (
    ANSWERED,
    ANSWERED_ELSEWHERE,
    OTHER,
    OTHER_TEXT,
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
    BACKOFFS,
    ONE_JSON,
    PAGE,
)
from support.upstreams import (
    finish,
)


def faults() -> Iterator[Fault]:
    """Yield bodies under 200 that are not an event stream, and empty answers."""
    yield Fault(
        name="one-json",
        words="One JSON object instead of a stream, as from a server that ignores `stream: true`",
        conduct="Its text is the answer.",
        primary=((ONE_JSON,),),
        events=(said(SAID + REST),),
        end=ANSWERED,
        calls=(1, 0),
    )
    for fallback, events, end, conduct in (
        (
            OTHER,
            (switching("provider_misconfigured"), said(OTHER_TEXT)),
            ANSWERED_ELSEWHERE,
            "calls the fallback",
        ),
        (None, (), failed("provider_misconfigured"), "fails"),
    ):
        yield Fault(
            name="page" if fallback else "page-alone",
            words="A page under 200, such as a login page",
            conduct=f"No retry: {conduct}; the log names the entry and `base_url`.",
            primary=((PAGE,),),
            fallback=fallback,
            events=events,
            end=end,
            calls=(1, 1 if fallback else 0),
            setting="base_url",
        )
    yield Fault(
        name="empty-once",
        words="An answer that ends (`stop`) with nothing in it, once",
        conduct="Retries the same provider.",
        primary=((finish(),), WELL),
        events=(retrying("empty_answer"), said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    yield from rounds(
        "empty",
        "An answer that ends (`stop`) with nothing in it, each time",
        (finish(),),
        "empty_answer",
        usage="estimated",
    )
