"""The lines that the hooks' details become, whole."""

import logging
from typing import Literal

import pytest

from streamsvc.events import Done, Outcome, Status, Usage
from streamsvc.hooks import GenerationEnded, GenerationStarted, Hooks, RequestEnded
from streamsvc.telemetry.log_lines import LogLines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def hooks(*, access_log: bool = False) -> Hooks:
    made = Hooks()
    LogLines(made, access_log=access_log)
    return made


def ended(
    end: Literal["finished", "handed_over"] = "finished",
    *,
    usage: Usage | None = None,
    first: float | None = None,
    trace: str = "",
) -> GenerationEnded:
    done = Done(
        status=Status.COMPLETED,
        finish_reason="stop",
        outcome=Outcome.COMPLETED,
        provider="main",
        model="m-1",
        usage=usage,
    )
    return GenerationEnded(
        generation="gen_a",
        principal="Jane",
        end=end,
        model="m-1",
        done=done,
        began_at=1.0,
        seconds=3.2041,
        first_token_seconds=first,
        calls=2,
        viewers=3,
        trace=trace,
    )


def request(status: int = 200, **fields: str) -> RequestEnded:
    return RequestEnded(
        method="GET",
        route="/stream-ai",
        status=status,
        began_at=1.0,
        seconds=2.5,
        first_byte_seconds=0.25 if status else None,
        **fields,
    )


def test_line_of_a_generation_has_what_an_operator_needs(caplog: pytest.LogCaptureFixture) -> None:
    """A principal is named in the access log only."""
    usage = Usage(input_tokens=9, output_tokens=143)
    hooks().notify(ended(usage=usage, first=0.4123, trace=TRACEPARENT))
    [line] = caplog.messages
    assert line == (
        "generation.finished id=gen_a provider=main model=m-1 outcome=completed calls=2 seconds=3.204"
        f" first_token=0.412 input_tokens=9 output_tokens=143 estimated=false viewers=3 trace={TRACE}"
    )


def test_line_has_only_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    hooks().notify(ended())
    hooks().notify(ended("handed_over", first=0.0))
    assert caplog.messages == [
        "generation.finished id=gen_a provider=main model=m-1 outcome=completed calls=2 seconds=3.204 viewers=3",
        "generation.handed_over id=gen_a provider=main model=m-1 calls=2 seconds=3.204 first_token=0.000 viewers=3",
    ]


def test_a_generation_that_goes_on_here_has_a_line_at_its_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for times in (0, 2):
        detail = GenerationStarted(
            generation="gen_a",
            principal="",
            provider="main",
            model="m-1",
            takes_over=times,
            trace=TRACEPARENT,
        )
        hooks().notify(detail)
    assert caplog.messages == [
        f"generation.resumed id=gen_a provider=main times=2 trace={TRACE}",
    ]


def test_the_access_log_is_off_unless_the_settings_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks().notify(request())
    assert caplog.messages == []
    chatty = hooks(access_log=True)
    chatty.notify(request(generation="gen_a", principal="Jane", trace=TRACEPARENT))
    chatty.notify(request(0))
    whole, cut = caplog.messages
    assert whole == (
        "request.ended method=GET route=/stream-ai status=200 seconds=2.500 first_byte=0.250 id=gen_a"
        f" principal=Jane trace={TRACE}"
    )
    assert cut == "request.ended method=GET route=/stream-ai status=0 seconds=2.500"
