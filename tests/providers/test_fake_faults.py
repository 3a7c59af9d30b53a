"""The faults of the fake provider as the engine sees them, in virtual time.

What viewers get of each is in `tests/web/test_injected_faults.py`.
"""

import math
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
from trio.testing import MockClock

from streamsvc.config.provider_settings import FakeSettings, FaultName
from streamsvc.events import Reasoning, Text, Usage
from streamsvc.messages import Prompt, UserMessage
from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderModelNotFound,
    ProviderRateLimited,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers.base import Finish
from streamsvc.providers.fake import faults
from streamsvc.providers.fake.faults import FAULTS
from streamsvc.providers.fake.provider import FakeProvider
from support.answering import answering

SHIPPED = Path(__file__).parents[2] / "config.toml"
TEXT = "One two three four."
PATIENCE = 1_000_000.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Use trio with a clock that jumps to the next timer when all tasks wait."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def entry(**fields: Any) -> FakeSettings:
    return FakeSettings(
        **{"text": TEXT, "words_per_second": 1, "first_word_seconds": 2, **fields},
    )


def asked(**fields: Any) -> Prompt:
    return Prompt(messages=(UserMessage("Tell me."),), **fields)


async def call(
    provider: FakeProvider, prompt: Prompt
) -> tuple[str, Finish | ProviderError | None, float]:
    """Return the text of a call, how it ends (None for never), and the seconds that it takes."""
    began = anyio.current_time()
    said: list[str] = []
    end: Finish | ProviderError | None = None
    try:
        with anyio.move_on_after(PATIENCE):
            async with answering(provider, prompt) as deltas:
                async for delta in deltas:
                    assert end is None
                    if isinstance(delta, Finish):
                        end = delta
                    else:
                        assert isinstance(delta, Text | Reasoning)
                        said.append(delta.text)
    except ProviderError as exc:
        end = exc
    seconds = anyio.current_time() - began
    return "".join(said), end, math.inf if seconds >= PATIENCE else round(seconds, 6)


WHOLE = (TEXT, "stop", 5.0)
BEGINNING = "One two three "
OTHER = f"In other words: {TEXT}"
SEEN: dict[FaultName, tuple[tuple[str, object, float], tuple[str, object, float]]] = {
    "none": (WHOLE, WHOLE),
    "rate_limit_once": (("", ProviderRateLimited, 0), WHOLE),
    "rate_limit": (("", ProviderRateLimited, 0), ("", ProviderRateLimited, 0)),
    "error_once": (("", ProviderUnavailable, 0), WHOLE),
    "unavailable": (("", ProviderUnavailable, 0), ("", ProviderUnavailable, 0)),
    "reset": (("", ProviderUnavailable, 0), ("", ProviderUnavailable, 0)),
    "silent": (("", None, math.inf), ("", None, math.inf)),
    "slow": ((TEXT, "stop", 25.0), (TEXT, "stop", 25.0)),
    "cut_once": ((BEGINNING, UpstreamCut, 4), WHOLE),
    "cut": ((BEGINNING, UpstreamCut, 4), (BEGINNING, UpstreamCut, 4)),
    "restart": ((BEGINNING, UpstreamCut, 4), (OTHER, "stop", 8)),
    "stall": ((BEGINNING, None, math.inf), (BEGINNING, None, math.inf)),
    "garbage": ((BEGINNING, UpstreamInvalid, 4), (BEGINNING, UpstreamInvalid, 4)),
    "context_length": (("", ContextLengthExceeded, 0), ("", ContextLengthExceeded, 0)),
    "prompt_blocked": (("", ProviderContentFiltered, 0), ("", ProviderContentFiltered, 0)),
    "content_filter": ((BEGINNING, "content_filter", 4), (BEGINNING, "content_filter", 4)),
    "auth": (("", ProviderAuthFailed, 0), ("", ProviderAuthFailed, 0)),
    "model_not_found": (("", ProviderModelNotFound, 0), ("", ProviderModelNotFound, 0)),
    "flapping": (("", ProviderUnavailable, 0), ("", ProviderUnavailable, 0)),
    "tool_index_zero": (WHOLE, WHOLE),
    "tool_index_missing": (WHOLE, WHOLE),
    "tool_id_late": (WHOLE, WHOLE),
    "tool_id_missing": (WHOLE, WHOLE),
    "tool_whole": (WHOLE, WHOLE),
    "tool_object": (WHOLE, WHOLE),
    "tool_finish_stop": (WHOLE, WHOLE),
    "tool_name_repeated": (WHOLE, WHOLE),
}
"""By fault: text, end and seconds of the first and the second call for an answer."""


def test_every_fault_has_a_behaviour_and_a_test() -> None:
    assert [*FAULTS] == [*SEEN] == [*get_args(FaultName)]


def test_shipped_settings_explain_every_fault() -> None:
    lines = [line.split() for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    places = [
        place for place, line in enumerate(lines) if line[:2] in (["fault", "="], ["seed", "="])
    ]
    explained = {word.strip(",") for line in lines[slice(*places)] for word in line[1:3]}
    assert {*get_args(FaultName)} - {"none"} <= explained


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("by_request", [False, True], ids=["configured", "requested"])
async def test_fault_breaks_only_the_calls_it_should(name: FaultName, *, by_request: bool) -> None:
    provider = FakeProvider(entry(allow_faults=True) if by_request else entry(fault=name))
    for number, (text, end, seconds) in enumerate(SEEN[name], 1):
        prompt = asked(call=number, fault=name if by_request else "")
        said, ended, took = await call(provider, prompt)
        kind = ended.reason if isinstance(ended, Finish) else ended and type(ended)
        assert (said, kind, took) == (text, end, seconds)


async def test_calls_of_other_answers_do_not_count() -> None:
    provider = FakeProvider(entry(fault="cut_once"))
    for _ in range(3):
        _, end, _ = await call(provider, asked())
        assert isinstance(end, UpstreamCut)


async def test_only_rate_limit_once_has_a_retry_after() -> None:
    for name, seconds in (("rate_limit_once", 1.0), ("rate_limit", None)):
        _, end, _ = await call(FakeProvider(entry(fault=name)), asked())
        assert isinstance(end, ProviderError)
        assert end.retry_after_seconds == seconds


async def test_answer_that_ends_without_saying_so_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faults, "FAULTS", {"none": lambda _call: ()})
    said, end, _ = await call(FakeProvider(entry()), asked())
    assert (said, type(end)) == ("", UpstreamCut)


async def test_reset_shows_its_cause_in_the_log() -> None:
    _, end, _ = await call(FakeProvider(entry(fault="reset")), asked())
    assert isinstance(end, ProviderError)
    assert isinstance(end.__cause__, ConnectionResetError)


async def test_request_chooses_a_fault_where_allowed() -> None:
    provider = FakeProvider(entry(fault="cut", allow_faults=True))
    assert (await call(provider, asked()))[0] == BEGINNING
    assert (await call(provider, asked(fault="none")))[0] == TEXT
    _, end, _ = await call(provider, asked(fault="auth"))
    assert isinstance(end, ProviderAuthFailed)


async def test_fallback_without_faults_still_answers() -> None:
    """The fault of a request applies only to the entry that it was checked for."""
    assert (await call(FakeProvider(entry()), asked(fault="unavailable")))[0] == TEXT


@pytest.mark.parametrize(
    ("after_words", "said"),
    [(1, "One "), (3, BEGINNING), (4, TEXT), (5, TEXT), (100, TEXT)],
)
async def test_answer_breaks_after_its_words_and_before_its_end(
    after_words: int, said: str
) -> None:
    text, end, _ = await call(
        FakeProvider(entry(fault="cut", fault_after_words=after_words)), asked()
    )
    assert text == said
    assert isinstance(end, UpstreamCut)


async def test_empty_answer_breaks_too() -> None:
    for name in ("cut", "garbage"):
        text, end, _ = await call(FakeProvider(entry(fault=name, text="")), asked())
        assert text == ""
        assert isinstance(end, ProviderError)


async def test_break_counts_words_of_the_answer_only() -> None:
    provider = FakeProvider(entry(fault="content_filter", fault_after_words=1, reasoning="Hm. So."))
    async with answering(provider, asked()) as deltas:
        said = [delta async for delta in deltas]
    usage = Usage(input_tokens=2, output_tokens=3, reasoning_tokens=2)
    end = Finish(reason="content_filter", provider_reason="content_filter", usage=usage)
    assert said == [Reasoning("Hm. "), Reasoning("So."), Text("One "), end]


async def test_restarted_answer_keeps_the_bounds_of_the_prompt() -> None:
    provider = FakeProvider(entry(fault="restart"))
    said, end, _ = await call(provider, asked(call=2, max_tokens=4))
    assert said == "In other words: One "
    assert isinstance(end, Finish)
    assert end.reason == "length"


async def test_words_after_a_silence_keep_their_pace() -> None:
    began = anyio.current_time()
    provider = FakeProvider(entry(fault="slow", fault_seconds=10))
    async with answering(provider, asked()) as deltas:
        times = [round(anyio.current_time() - began, 6) async for _ in deltas]
    assert times == [12, 13, 14, 15, 15]


@pytest.mark.promise("upstream:rescue")
async def test_flapping_starts_when_the_provider_is_opened() -> None:
    provider = FakeProvider(
        entry(fault="flapping", fault_seconds=60, words_per_second=0, first_word_seconds=0)
    )
    is_well = []
    for _ in range(10):
        _, end, _ = await call(provider, asked())
        is_well.append(isinstance(end, Finish))
        await anyio.sleep(30)
    assert is_well == [False, False, True, True] * 2 + [False, False]


async def test_cancelling_a_silence_ends_it() -> None:
    for name in ("silent", "slow", "stall"):
        provider = FakeProvider(entry(fault=name))
        with anyio.move_on_after(10) as scope:
            async with answering(provider, asked()) as deltas:
                async for _ in deltas:
                    pass
        assert scope.cancelled_caught
