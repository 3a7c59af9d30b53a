"""The way to one answer: who is asked, how often, when; and what viewers see of it."""

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import anyio
import anyio.abc
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from streamsvc.config.settings import FakeSettings, GenerationSettings, Settings
from streamsvc.engine.circuit import State
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import (
    ContextLengthExceeded,
    EmptyAnswer,
    NamedModelNotFound,
    Overloaded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.events import (
    AnswerEnd,
    Done,
    Event,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Restart,
    Start,
    Status,
    Text,
    Usage,
)
from streamsvc.messages import GenerationRequest
from streamsvc.providers.base import Finish
from support.doubles import (
    HOLD,
    PROMPT,
    Announced,
    Providers,
    ScriptedProvider,
    SlowLog,
    Step,
    Takes,
    events_of,
    in_virtual_time,
    run_in_virtual_time,
)

USAGE = Usage(input_tokens=3, output_tokens=7)
STOP = Finish(reason="stop", usage=USAGE)
WELL: tuple[Step, ...] = (Text("well"), STOP)
FIRST_TOKEN = 100.0
IDLE = 50.0
TOTAL = 1000.0
ORDER = GenerationRequest(prompt=PROMPT, provider="first")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return in_virtual_time(request.param)


class Bench(Supervisor):
    """A supervisor over scripts: the first provider falls back on the others, in their order.

    Args:
        providers: first, second ...
        entries: settings of some of them, by name.
        generations: as in the settings.
        section: settings of all of them.
    """

    def __init__(
        self,
        *providers: ScriptedProvider,
        entries: dict[str, dict[str, Any]] | None = None,
        generations: dict[str, Any] | None = None,
        **section: Any,
    ) -> None:
        named = dict(zip(("first", "second", "third"), providers, strict=False))
        values = {
            name: {
                "model": f"model-of-{name}",
                "fallbacks": (*named,)[1:] if name == "first" else (),
                "first_token_seconds": FIRST_TOKEN,
                "idle_seconds": IDLE,
                "total_seconds": TOTAL,
                **section,
                **(entries or {}).get(name, {}),
            }
            for name in named
        }
        registry = Providers(named, {name: FakeSettings(**values[name]) for name in named})
        settings = Settings(
            provider="first",
            generations=GenerationSettings(**(generations or {})),
            providers=dict(registry.entries),
        )
        self.providers = providers
        self.log = SlowLog(settings.generations)
        directory = MemoryDirectory(self.log, settings)
        super().__init__(providers=registry, log=self.log, directory=directory, settings=settings)

    async def answer(self, order: GenerationRequest = ORDER) -> list[Event]:
        """Ask once, stay until the end, and return what viewers are told, without the `Start`."""
        generation = await self.create(order)
        with self.viewer(generation):
            start, *events = await events_of(self.log, generation)
        assert isinstance(start, Start)
        return events

    async def done(self) -> Done:
        """Ask once, and return how it ended."""
        done = (await self.answer())[-1]
        assert isinstance(done, Done)
        return done

    @property
    def calls(self) -> tuple[int, ...]:
        """How often each provider has been asked."""
        return tuple(provider.opened for provider in self.providers)

    @property
    def places(self) -> list[int]:
        """How many generations there are on each entry."""
        return [entry.running for entry in self.entries]

    def circuit_of(self, name: str) -> State:
        """How the circuit of an entry is."""
        return {entry.name: entry.circuit.state for entry in self.entries}[name]


@asynccontextmanager
async def supervising(*providers: ScriptedProvider, **settings: Any) -> AsyncIterator[Bench]:
    """Ask what is wanted; in the end everything is closed, and every place given back."""
    with anyio.fail_after(100 * TOTAL):
        async with Bench(*providers, **settings) as bench:
            yield bench
            await anyio.wait_all_tasks_blocked()
            assert bench.running == 0
            assert bench.places == [0] * len(providers)
            assert all(provider.opened == provider.closed for provider in providers)


def completed(by: str, usage: Usage | None = USAGE) -> Done:
    return Done(
        status=Status.COMPLETED,
        finish_reason="stop",
        outcome=Outcome.COMPLETED,
        provider=by,
        model=f"model-of-{by}",
        usage=usage,
    )


def failed(of: str, error: ProviderError, usage: Usage | None = None) -> Done:
    return Done(
        status=Status.FAILED,
        finish_reason="error",
        outcome=Outcome(error.outcome),
        provider=of,
        model=f"model-of-{of}",
        usage=usage,
        error=PublicError(error.code, error.message, error.retryable),
    )


def counted(said: int, *, thought: int = 0) -> Usage:
    """What streamsvc estimates: the prompt, and a token for each short piece."""
    return Usage(
        input_tokens=5,
        output_tokens=said + thought,
        reasoning_tokens=thought or None,
        estimated=True,
    )


def rate_limited(retry_after_seconds: float) -> ProviderRateLimited:
    error = ProviderRateLimited()
    error.retry_after_seconds = retry_after_seconds
    return error


def retrying(reason: str = "provider_unavailable", provider: str = "first") -> Progress:
    return Progress(state="retrying", provider=provider, reason=reason)


def switching(reason: str = "provider_unavailable", provider: str = "second") -> Progress:
    return Progress(state="switching", provider=provider, reason=reason)


def restart(reason: str = "upstream_cut", provider: str = "first") -> Restart:
    return Restart(reason=reason, provider=provider, model=f"model-of-{provider}")


def gaps(provider: ScriptedProvider) -> list[float]:
    """Return the seconds between the calls to a provider."""
    return [later - before for before, later in pairwise(provider.asked_at)]


def text_of(said: Sequence[Event | Step]) -> str:
    """Return what a page shows in the end."""
    text = ""
    for one in said:
        if isinstance(one, Restart):
            text = ""
        elif isinstance(one, Text):
            text += one.text
    return text


# ---- Which failures lead where


@dataclass(frozen=True)
class Conduct:
    """What is done about a failure before the first token."""

    is_repeated: bool
    goes_to_fallback: bool
    counts: bool


CONDUCT = {
    ProviderError: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    ProviderAuthFailed: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    ProviderQuotaExhausted: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    ProviderMisconfigured: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    ProviderModelNotFound: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    NamedModelNotFound: Conduct(is_repeated=False, goes_to_fallback=True, counts=False),
    ProviderRefused: Conduct(is_repeated=False, goes_to_fallback=True, counts=False),
    ProviderContentFiltered: Conduct(is_repeated=False, goes_to_fallback=False, counts=False),
    ContextLengthExceeded: Conduct(is_repeated=False, goes_to_fallback=True, counts=False),
    ProviderRateLimited: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    ProviderUnavailable: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    ProviderTimedOut: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    UpstreamCut: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    UpstreamInvalid: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    EmptyAnswer: Conduct(is_repeated=True, goes_to_fallback=True, counts=False),
}


def tree(root: type[ProviderError] = ProviderError) -> list[type[ProviderError]]:
    return [root, *(leaf for branch in root.__subclasses__() for leaf in tree(branch))]


def one(kind: type[ProviderError]) -> ProviderError:
    return ProviderTimedOut("first_token") if kind is ProviderTimedOut else kind()


def test_every_kind_of_failure_has_its_conduct_written_down() -> None:
    assert CONDUCT.keys() == set(tree())


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("kind", CONDUCT, ids=lambda kind: kind.__name__)
async def test_each_kind_of_failure_is_repeated_goes_on_or_ends_as_written_down(
    kind: type[ProviderError],
) -> None:
    conduct = CONDUCT[kind]
    first, second = ScriptedProvider(one(kind)), ScriptedProvider(*WELL)
    async with supervising(first, second, attempts=2, circuit_failures=2) as bench:
        events = await bench.answer()
        assert bench.calls == (1 + conduct.is_repeated, conduct.goes_to_fallback)
        assert events[:-1] == [
            *[retrying(kind.code)] * conduct.is_repeated,
            *[switching(kind.code), Text("well")] * conduct.goes_to_fallback,
        ]
        await bench.answer()
        assert (bench.circuit_of("first") is State.OPEN) == conduct.counts


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("said", [(), (Text("a"),), (Reasoning("a"),)])
async def test_a_content_filter_is_neither_asked_again_nor_routed_around(
    said: tuple[Step, ...],
) -> None:
    """The answer is over, and viewers are told why; nobody has failed."""
    first, second = ScriptedProvider(*said, ProviderContentFiltered()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=1) as bench:
        *_, done = await bench.answer()
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.INCOMPLETE, "content_filter")
        assert bench.calls == (1, 0)
        assert bench.circuit_of("first") is State.CLOSED


@pytest.mark.promise("upstream:rescue")
async def test_a_refusal_of_a_fallback_is_the_end_too() -> None:
    first, second, third = (
        ScriptedProvider(ContextLengthExceeded()),
        ScriptedProvider(ProviderContentFiltered()),
        ScriptedProvider(*WELL),
    )
    async with supervising(first, second, third) as bench:
        done = await bench.done()
        assert (done.provider, done.finish_reason) == ("second", "content_filter")
        assert bench.calls == (1, 1, 0)


@pytest.mark.promise("end:exactly-one")
async def test_a_rescue_that_is_refused_before_a_word_leaves_viewers_what_they_have() -> None:
    first = Takes((Text("The sky "), UpstreamCut()), (ProviderContentFiltered(),))
    async with supervising(first) as bench:
        *events, done = await bench.answer()
        assert events == [Text("The sky "), retrying("upstream_cut")]
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.INCOMPLETE, "content_filter")
        assert done.usage is not None
        assert done.usage.output_tokens > 0


@pytest.mark.promise("upstream:rescue")
async def test_a_restart_names_what_broke_the_answer_off_and_not_what_failed_since() -> None:
    first = Takes((Text("The sky "), UpstreamCut()), (ProviderUnavailable(),))
    async with supervising(first, ScriptedProvider(*WELL)) as bench:
        events = await bench.answer()
        assert restart("upstream_cut", "second") in events


async def test_a_model_that_a_client_names_is_asked_of_the_entry_it_named_and_no_other() -> None:
    first, second = Takes((Text("a"), UpstreamCut()), (ProviderRefused(),)), ScriptedProvider(*WELL)
    async with supervising(first, second) as bench:
        prompt = msgspec.structs.replace(PROMPT, model="larger")
        generation = await bench.create(msgspec.structs.replace(ORDER, prompt=prompt))
        with bench.viewer(generation):
            events = await events_of(bench.log, generation)
        assert [prompt.model for prompt in first.prompts] == ["larger", "larger"]
        assert [prompt.model for prompt in second.prompts] == [""]
        told = [event.model for event in events if isinstance(event, Start | Restart | Done)]
        assert told == ["larger", "model-of-second", "model-of-second"]


# ---- Asking again


@pytest.mark.promise("upstream:rescue")
async def test_a_failure_that_passes_is_seen_as_a_status_and_no_more() -> None:
    async with supervising(Takes([ProviderUnavailable()], WELL)) as bench:
        assert await bench.answer() == [retrying(), Text("well"), completed("first")]


async def test_where_nothing_fails_there_is_no_status() -> None:
    async with supervising(ScriptedProvider(*WELL), ScriptedProvider(*WELL)) as bench:
        assert await bench.answer() == [Text("well"), completed("first")]
        assert bench.calls == (1, 0)


@pytest.mark.promise("upstream:rescue")
async def test_the_wait_doubles_up_to_its_bound_and_no_two_are_alike() -> None:
    """Never less than half of it: a crowd that fails at once must not come back at once."""
    provider = ScriptedProvider(ProviderUnavailable())
    settings = {"attempts": 8, "backoff_seconds": 1.0, "max_backoff_seconds": 8.0}
    generations = {"max_calls": 8}
    async with supervising(
        provider, generations=generations, circuit_failures=0, **settings
    ) as bench:
        assert await bench.done() == failed("first", ProviderUnavailable())
    waits = gaps(provider)
    for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8, 8], strict=True):
        assert longest / 2 - 0.001 <= wait <= longest + 0.001
    assert len({round(wait, 6) for wait in waits[-4:]}) > 1


@pytest.mark.promise("upstream:rescue")
async def test_an_entry_is_asked_as_often_as_it_says_and_an_answer_has_so_many_calls() -> None:
    def down() -> ScriptedProvider:
        return ScriptedProvider(ProviderUnavailable())

    entries = {"first": {"attempts": 2}, "second": {"attempts": 1}, "third": {"attempts": 10}}
    async with supervising(down(), down(), down(), entries=entries, circuit_failures=0) as bench:
        events = await bench.answer()
        assert bench.calls == (2, 1, 3)
        assert events == [
            retrying(),
            switching(),
            switching(provider="third"),
            *[retrying(provider="third")] * 2,
            failed("first", ProviderUnavailable()),
        ]


@pytest.mark.promise("upstream:bounded")
async def test_with_one_call_allowed_there_is_one() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, generations={"max_calls": 1}) as bench:
        assert await bench.answer() == [failed("first", ProviderUnavailable())]


@pytest.mark.promise("upstream:rescue")
async def test_a_provider_that_says_when_to_come_back_is_asked_then() -> None:
    provider = Takes([rate_limited(60.0)], WELL)
    async with supervising(provider) as bench:
        assert await bench.answer() == [
            retrying("provider_rate_limited"),
            Text("well"),
            completed("first"),
        ]
        assert gaps(provider) == [pytest.approx(60.0)]


@pytest.mark.promise("upstream:rescue")
async def test_a_retry_after_of_nothing_is_no_reason_to_come_back_at_once() -> None:
    provider = Takes([rate_limited(0.0)], WELL)
    async with supervising(provider, backoff_seconds=1.0) as bench:
        await bench.answer()
    assert 0.5 <= gaps(provider)[0] <= 1.001


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("total_seconds", [TOTAL, FIRST_TOKEN / 2])
async def test_one_that_wants_to_be_left_alone_beyond_a_deadline_is_not_waited_for(
    total_seconds: float,
) -> None:
    """Viewers are told at once, and not when the time is over."""
    provider = ScriptedProvider(rate_limited(min(total_seconds, FIRST_TOKEN) + 1))
    async with supervising(provider, total_seconds=total_seconds) as bench:
        assert await bench.answer() == [failed("first", ProviderRateLimited())]
        assert bench.calls == (1,)
        assert anyio.current_time() < 1


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(("seconds", "calls"), [(8.0, (2, 0)), (8.1, (1, 1))])
async def test_where_a_fallback_is_there_a_long_retry_after_is_passed_over(
    seconds: float, calls: tuple[int, ...]
) -> None:
    first, second = Takes([rate_limited(seconds)], WELL), ScriptedProvider(*WELL)
    async with supervising(first, second, max_backoff_seconds=8.0) as bench:
        assert (await bench.done()).status is Status.COMPLETED
        assert bench.calls == calls


@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("upstream:rescue")
async def test_a_silent_provider_is_not_asked_again_and_its_fallback_is() -> None:
    async with supervising(ScriptedProvider(HOLD), ScriptedProvider(*WELL)) as bench:
        assert await bench.answer() == [
            switching("provider_timeout"),
            Text("well"),
            completed("second"),
        ]
        assert bench.calls == (1, 1)
        assert anyio.current_time() == pytest.approx(FIRST_TOKEN)


@pytest.mark.promise("upstream:bounded")
async def test_the_first_token_deadline_is_for_all_tries_of_an_entry_together() -> None:
    provider = Takes([40.0, ProviderUnavailable()], [HOLD])
    async with supervising(provider) as bench:
        done = await bench.done()
        assert done == failed("first", ProviderUnavailable(), usage=counted(0))
        assert bench.calls == (2,)
        assert anyio.current_time() == pytest.approx(FIRST_TOKEN)


@pytest.mark.promise("upstream:bounded")
async def test_an_entry_whose_time_is_over_is_not_asked_again() -> None:
    provider = ScriptedProvider(FIRST_TOKEN - 0.1, ProviderUnavailable())
    async with supervising(provider, backoff_seconds=1.0) as bench:
        await bench.answer()
        assert bench.calls == (1,)


@pytest.mark.promise("upstream:bounded")
async def test_each_entry_has_its_own_first_token_deadline() -> None:
    entries = {"second": {"first_token_seconds": 30.0}}
    async with supervising(
        ScriptedProvider(HOLD), ScriptedProvider(HOLD), entries=entries
    ) as bench:
        await bench.answer()
        assert anyio.current_time() == pytest.approx(FIRST_TOKEN + 30)


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize(
    "takes",
    [
        [[200.0, Text("a"), 40.0, UpstreamCut()]],
        [[Text("a"), *[40.0, Text("a")] * 20, UpstreamCut()]],
        [[190.0, ProviderUnavailable()], [HOLD]],
        [[Text("a"), 140.0, UpstreamCut()], [Text("b"), HOLD]],
    ],
)
async def test_the_total_deadline_ends_all_tries_and_fallbacks_together(
    takes: list[list[Step]],
) -> None:
    first, second = Takes(*takes), ScriptedProvider(HOLD)
    async with supervising(
        first,
        second,
        entries={"first": {"total_seconds": 300.0}},
        first_token_seconds=400.0,
        idle_seconds=299.0,
    ) as bench:
        done = await bench.done()
        assert done.status is Status.FAILED
        assert anyio.current_time() == pytest.approx(300.0)
        assert second.opened == 0


@pytest.mark.promise("upstream:rescue")
async def test_a_fallbacks_own_total_deadline_is_not_that_of_the_answer() -> None:
    entries = {"second": {"total_seconds": 10.0}}
    providers = (
        ScriptedProvider(ProviderRefused()),
        ScriptedProvider(HOLD),
        ScriptedProvider(*WELL),
    )
    async with supervising(*providers, entries=entries) as bench:
        assert await bench.done() == completed("third")
        assert anyio.current_time() == pytest.approx(10.0)


# ---- Whose failure is told


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([ProviderUnavailable(), UpstreamInvalid()], 0),
        ([ProviderAuthFailed(), ProviderUnavailable()], 1),
        ([ProviderAuthFailed(), ContextLengthExceeded()], 0),
        ([ContextLengthExceeded(), ProviderAuthFailed()], 0),
    ],
    ids=lambda errors: "+".join(one.code for one in errors) if isinstance(errors, list) else None,
)
async def test_the_failure_that_is_told_is_one_that_may_pass_else_the_first(
    errors: list[ProviderError], told: int
) -> None:
    providers = [ScriptedProvider(error) for error in errors]
    async with supervising(*providers, attempts=1) as bench:
        assert await bench.done() == failed(("first", "second")[told], errors[told])


@pytest.mark.promise("secret:kept")
async def test_the_operator_reads_of_every_call_that_failed_and_which_setting_to_look_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    providers = (
        ScriptedProvider(ProviderAuthFailed("the-secret-question")),
        ScriptedProvider(ProviderModelNotFound("the-secret-question")),
        ScriptedProvider(*WELL),
    )
    with caplog.at_level(logging.INFO):
        async with supervising(*providers) as bench:
            await bench.answer()
    lines = [re.sub(r"id=\w+ | seconds=.*", "", record.getMessage()) for record in caplog.records]
    assert lines == [
        "call.failed provider=first model=model-of-first code=provider_auth call=1 begun=false cause=none setting=providers.first.api_key_env",
        "call.failed provider=second model=model-of-second code=provider_model_not_found call=2 begun=false cause=none setting=providers.second.model",
        "generation.finished provider=third model=model-of-third outcome=completed calls=3",
    ]
    assert "the-secret-question" not in caplog.text


async def test_a_provider_knows_which_call_for_the_answer_it_is() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, attempts=2) as bench:
        await bench.answer()
    assert [prompt.call for prompt in first.prompts] == [1, 2]
    assert second.prompts == [msgspec.structs.replace(PROMPT, call=3)]


# ---- Rescue


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("error", [UpstreamCut(), UpstreamInvalid(), ProviderUnavailable()])
async def test_an_answer_that_is_said_again_goes_on_unseen(error: ProviderError) -> None:
    provider = Takes(
        [Text("one "), Text("two "), error],
        [Text("one t"), Text("wo th"), Text("ree"), STOP],
    )
    async with supervising(provider) as bench:
        assert await bench.answer() == [
            Text("one "),
            Text("two "),
            retrying(error.code),
            Text("th"),
            Text("ree"),
            completed("first"),
        ]
        assert provider.prompts[1].messages == PROMPT.messages


@pytest.mark.promise("upstream:rescue")
async def test_an_answer_of_which_only_the_end_was_missing_ends() -> None:
    provider = Takes([Text("one")], [Text("o"), Text("ne"), STOP])
    async with supervising(provider) as bench:
        assert await bench.answer() == [Text("one"), retrying("upstream_cut"), completed("first")]


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("again", "shown"),
    [
        ([Text("One")], [Text("One")]),
        ([Text("one"), Text("-two")], [Text("one-two")]),
        ([Text("on")], [Text("on")]),
    ],
    ids=["other", "other later", "shorter"],
)
async def test_another_answer_is_announced_and_begins_anew(
    again: list[Step], shown: list[Step]
) -> None:
    provider = Takes([Text("one "), Text("two ")], [*again, STOP])
    async with supervising(provider) as bench:
        assert await bench.answer() == [
            Text("one "),
            Text("two "),
            retrying("upstream_cut"),
            restart(),
            *shown,
            completed("first"),
        ]


@pytest.mark.promise("upstream:rescue")
async def test_a_fallback_may_rescue_and_is_named() -> None:
    first, second = ScriptedProvider(Text("one "), HOLD), ScriptedProvider(Text("else"), STOP)
    async with supervising(first, second) as bench:
        assert await bench.answer() == [
            Text("one "),
            switching("provider_timeout"),
            restart("provider_timeout", "second"),
            Text("else"),
            completed("second"),
        ]
        assert anyio.current_time() == pytest.approx(IDLE)


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("words", [1, 2, 10])
async def test_the_idle_deadline_is_counted_from_the_last_word(words: int) -> None:
    gap = IDLE - 1
    said = [step for _ in range(words) for step in (gap, Text("a "))]
    async with supervising(ScriptedProvider(Text("a "), *said, HOLD)) as bench:
        done = await bench.done()
        assert done.outcome is Outcome.IDLE_TIMEOUT
        assert anyio.current_time() == pytest.approx(words * gap + IDLE)


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("error", [UpstreamCut(), ProviderUnavailable()], ids=["cut", "gone"])
@pytest.mark.parametrize("has_begun", [True, False], ids=["idle", "first-token"])
@pytest.mark.parametrize("share", [0.49, 0.5, 0.99])
async def test_a_break_after_a_long_silence_is_silence(
    error: ProviderError, share: float, *, has_begun: bool
) -> None:
    """It is not asked again, and the fallback is; after a short one it is a break like any other."""
    bound = IDLE if has_begun else FIRST_TOKEN
    begun = (Text("one "),) if has_begun else ()
    first = ScriptedProvider(*begun, share * bound, error)
    async with supervising(first, ScriptedProvider(*WELL), attempts=2) as bench:
        events = await bench.answer()
        is_silence = share >= 0.5
        expected = "provider_timeout" if is_silence else error.code
        assert switching(expected) in events
        assert bench.calls == (1 if is_silence else 2, 1)


@pytest.mark.promise("upstream:bounded")
async def test_a_silence_that_ends_in_a_break_is_named_by_its_deadline() -> None:
    for script, outcome in (
        ((FIRST_TOKEN / 2, ProviderUnavailable()), Outcome.FIRST_TOKEN_TIMEOUT),
        ((Text("one "), IDLE / 2, UpstreamCut()), Outcome.IDLE_TIMEOUT),
        ((Text("one "), IDLE / 3, Text("two "), IDLE / 3, UpstreamCut()), Outcome.UPSTREAM_CUT),
    ):
        async with supervising(ScriptedProvider(*script), attempts=1) as bench:
            assert (await bench.done()).outcome is outcome


@pytest.mark.promise("upstream:rescue")
async def test_an_answer_with_a_status_of_its_own_is_no_silence() -> None:
    limited = ProviderRateLimited()
    provider = Takes([FIRST_TOKEN / 2, limited], [*WELL])
    async with supervising(provider) as bench:
        assert retrying(limited.code) in await bench.answer()


@pytest.mark.promise("upstream:rescue")
async def test_a_rescue_that_breaks_off_is_rescued_again() -> None:
    """While it catches up, behind that, and in another answer."""
    provider = Takes(
        [Text("one ")],
        [Text("on")],
        [Text("one two ")],
        [Text("One ")],
        [Text("One "), Text("two "), Text("three"), STOP],
    )
    async with supervising(provider, attempts=5) as bench:
        again = retrying("upstream_cut")
        assert await bench.answer() == [
            Text("one "),
            again,
            again,
            Text("two "),
            again,
            restart(),
            Text("One "),
            again,
            Text("two "),
            Text("three"),
            completed("first"),
        ]


@pytest.mark.promise("upstream:rescue")
async def test_each_break_has_the_whole_first_token_time_again() -> None:
    """An answer that takes minutes and breaks twice is not lost for its length."""
    words: list[Step] = []
    for _ in range(5):
        words += [40.0, Text("a")]
    provider = Takes(words, [*words, 40.0, Text("b")], [*words, Text("b"), STOP])
    async with supervising(provider) as bench:
        assert await bench.done() == completed("first")
        assert bench.calls == (3,)


@pytest.mark.promise("upstream:bounded")
async def test_rescues_are_bounded_as_all_calls_are() -> None:
    """And what was said stands, with an error behind it: it never looks finished."""
    first, second = ScriptedProvider(Text("one ")), ScriptedProvider(Text("one "))
    settings = {"generations": {"max_calls": 4}, "circuit_failures": 0}
    async with supervising(first, second, **settings) as bench:
        again = retrying("upstream_cut")
        assert await bench.answer() == [
            Text("one "),
            again,
            again,
            switching("upstream_cut"),
            failed("first", UpstreamCut(), usage=counted(1)),
        ]
        assert bench.calls == (3, 1)


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("said", [Text("one "), Reasoning("hm")])
async def test_with_rescue_switched_off_an_answer_that_breaks_off_is_an_error(
    said: Text | Reasoning,
) -> None:
    first, second = ScriptedProvider(said), ScriptedProvider(*WELL)
    async with supervising(first, second, generations={"rescue": False}) as bench:
        usage = counted(1) if isinstance(said, Text) else counted(0, thought=1)
        assert await bench.answer() == [said, failed("first", UpstreamCut(), usage)]
        assert bench.calls == (1, 0)


@pytest.mark.promise("upstream:rescue")
async def test_with_rescue_switched_off_a_failure_before_the_first_token_is_still_asked_again() -> (
    None
):
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, generations={"rescue": False}) as bench:
        assert await bench.done() == completed("second")
        assert bench.calls == (3, 1)


@pytest.mark.promise("upstream:rescue")
async def test_thinking_is_shown_once() -> None:
    """Models hardly think the same twice; what they think before their text counts for nothing."""
    provider = Takes(
        [Reasoning("hm ")],
        [Reasoning("well "), Text("one ")],
        [Reasoning("so "), Text("one "), Text("two"), STOP],
    )
    async with supervising(provider) as bench:
        events = await bench.answer()
    assert [event for event in events if not isinstance(event, Progress)] == [
        Reasoning("hm "),
        Text("one "),
        Text("two"),
        completed("first"),
    ]


@pytest.mark.promise("end:exactly-one")
async def test_closing_a_whole_answer_slowly_does_not_make_it_a_broken_one() -> None:
    """The deadline that passes meanwhile is not for that."""
    provider = ScriptedProvider(Text("a"), IDLE - 0.5, STOP, leaving=2.0)
    async with supervising(provider, ScriptedProvider(*WELL)) as bench:
        assert await bench.answer() == [Text("a"), completed("first")]


# ---- An answer with nothing in it, and one that is whole when a deadline strikes


async def test_an_empty_answer_is_asked_for_again() -> None:
    async with supervising(Takes([STOP], list(WELL))) as bench:
        assert await bench.answer() == [retrying("empty_answer"), Text("well"), completed("first")]


async def test_an_empty_answer_each_time_is_the_fallbacks_turn() -> None:
    first, second = ScriptedProvider(STOP), ScriptedProvider(*WELL)
    async with supervising(first, second, attempts=2) as bench:
        assert await bench.answer() == [
            retrying("empty_answer"),
            switching("empty_answer"),
            Text("well"),
            completed("second"),
        ]


async def test_an_empty_answer_of_everybody_is_a_failure_with_its_own_code() -> None:
    async with supervising(ScriptedProvider(STOP), attempts=1) as bench:
        done = await bench.done()
    assert (done.status, done.outcome) == (Status.FAILED, "upstream_error")
    assert done.error == PublicError(
        "empty_answer", "The provider's answer was empty.", retryable=True
    )


async def test_an_answer_may_be_empty_where_it_could_be_stopped() -> None:
    """A stop sequence at its very beginning leaves nothing of it."""
    order = GenerationRequest(
        prompt=msgspec.structs.replace(PROMPT, stop=("one",)), provider="first"
    )
    async with supervising(ScriptedProvider(STOP)) as bench:
        assert await bench.answer(order) == [completed("first")]


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "other"])
async def test_only_an_empty_answer_that_says_stop_is_a_failure(reason: AnswerEnd) -> None:
    async with supervising(ScriptedProvider(Finish(reason=reason))) as bench:
        assert (await bench.done()).finish_reason == reason


async def test_an_answer_that_is_thinking_only_has_something_in_it() -> None:
    async with supervising(ScriptedProvider(Reasoning("hm"), STOP)) as bench:
        assert await bench.answer() == [Reasoning("hm"), completed("first")]


async def test_a_rescue_that_comes_to_nothing_is_no_answer() -> None:
    provider = Takes([Text("one ")], [STOP], [Text("one two"), STOP])
    async with supervising(provider) as bench:
        assert await bench.answer() == [
            Text("one "),
            retrying("upstream_cut"),
            retrying("empty_answer"),
            Text("two"),
            completed("first"),
        ]


@pytest.mark.promise("end:exactly-one")
async def test_a_deadline_after_a_whole_answer_makes_no_failure_of_it() -> None:
    """It is complete and paid for, though its stream has not ended yet."""
    async with supervising(ScriptedProvider(Text("one"), Announced(STOP), HOLD)) as bench:
        assert await bench.answer() == [Text("one"), completed("first")]


@pytest.mark.promise("end:exactly-one")
async def test_words_after_an_end_take_it_back() -> None:
    async with supervising(
        ScriptedProvider(Text("one"), Announced(STOP), Text("two"), HOLD)
    ) as bench:
        assert (await bench.done()).outcome == "idle_timeout"


@st.composite
def outages(draw: st.DrawFn) -> list[list[list[Step]]]:
    """What two providers do at each of their calls: they say something, and end or break off."""
    texts = st.sampled_from(["a", "b", "ab", "aab"])
    pieces = st.lists(st.one_of(texts.map(Text), st.just(Reasoning("hm"))), max_size=4)
    ends: st.SearchStrategy[Step] = st.sampled_from(
        [STOP, UpstreamCut(), ProviderUnavailable(), rate_limited(9.0), HOLD]
    )
    take = st.builds(lambda said, end: [*said, end], pieces, ends)
    return draw(st.lists(st.lists(take, min_size=1, max_size=4), min_size=2, max_size=2))


@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_providers_do_what_viewers_have_is_one_whole_answer_or_an_error(
    backend: str,
) -> None:
    """Never parts of two answers, never a part that is called whole, never too many calls."""

    @given(outages())
    def check(takes: list[list[list[Step]]]) -> None:
        async def answer() -> None:
            providers = [Takes(*scripts) for scripts in takes]
            async with supervising(*providers) as bench:
                *events, done = await bench.answer()
                assert isinstance(done, Done)
                assert not any(isinstance(event, Start | Done) for event in events)
                assert sum(bench.calls) <= GenerationSettings().max_calls
                last = providers[done.provider == "second"]
                if done.status is Status.COMPLETED:
                    script = last.script_of(last.opened)
                    assert script[-1] is STOP
                    assert text_of(events) == text_of(script)
                    assert done.usage == USAGE
                else:
                    assert done.error

        run_in_virtual_time(backend, answer)

    check()


# ---- Room and circuits


@pytest.mark.promise("upstream:rescue")
async def test_full_entries_are_passed_over_and_a_status_says_so() -> None:
    first, second, third = (ScriptedProvider(10.0, *WELL) for _ in range(3))
    async with supervising(first, second, third, max_generations=1) as bench:
        answers: list[list[Event]] = []

        async def ask() -> None:
            answers.append(await bench.answer())

        async with anyio.create_task_group() as tasks:
            for places in ([1, 0, 0], [1, 1, 0], [1, 1, 1]):
                tasks.start_soon(ask)
                await anyio.sleep(1)
                assert bench.places == places
            with pytest.raises(Overloaded, match=r"providers\.first\.max_generations"):
                await bench.create(ORDER)
        assert answers == [
            [Text("well"), completed("first")],
            [switching("busy"), Text("well"), completed("second")],
            [switching("busy", "third"), Text("well"), completed("third")],
        ]


async def test_who_moves_on_leaves_the_place_to_others() -> None:
    first = Takes([ProviderRefused()], WELL)
    async with supervising(first, ScriptedProvider(HOLD), max_generations=1) as bench:
        waiting = await bench.create(ORDER)
        await anyio.wait_all_tasks_blocked()
        assert bench.places == [0, 1]
        assert await bench.done() == completed("first")
        await bench.stop(waiting)


async def test_a_fallback_that_is_full_is_not_asked() -> None:
    second, third = ScriptedProvider(HOLD), ScriptedProvider(*WELL)
    first = ScriptedProvider(ProviderRefused())
    async with supervising(
        first, second, third, entries={"second": {"max_generations": 1}}
    ) as bench:
        waiting = await bench.create(ORDER)
        await anyio.wait_all_tasks_blocked()
        assert await bench.answer() == [
            switching("provider_refused", "third"),
            Text("well"),
            completed("third"),
        ]
        await bench.stop(waiting)


@pytest.mark.promise("upstream:rescue")
async def test_while_a_circuit_is_open_the_fallback_serves_at_once() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=3) as bench:
        await bench.answer()
        began = anyio.current_time()
        for _ in range(10):
            assert await bench.answer() == [
                switching("circuit_open"),
                Text("well"),
                completed("second"),
            ]
        assert anyio.current_time() == pytest.approx(began, abs=0.01)
        assert first.opened == 3


@pytest.mark.promise("upstream:rescue")
async def test_the_failure_that_opens_the_circuit_is_not_waited_behind() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=2) as bench:
        assert await bench.answer() == [
            retrying(),
            switching(),
            Text("well"),
            completed("second"),
        ]


@pytest.mark.promise("upstream:rescue")
async def test_who_waits_to_ask_again_does_not_if_the_circuit_opens_meanwhile() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=4, attempts=2) as bench:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(bench.answer)
        assert bench.circuit_of("first") is State.OPEN
        assert first.opened == 10
        assert second.opened == 10


@pytest.mark.promise("upstream:rescue")
async def test_where_all_circuits_are_open_the_one_that_was_wanted_is_asked_all_the_same() -> None:
    first = Takes([ProviderUnavailable()], WELL)
    second = ScriptedProvider(ProviderUnavailable())
    async with supervising(first, second, circuit_failures=1, attempts=1) as bench:
        assert (await bench.done()).status is Status.FAILED
        assert {bench.circuit_of("first"), bench.circuit_of("second")} == {State.OPEN}
        assert await bench.answer() == [Text("well"), completed("first")]
        assert bench.circuit_of("first") is State.CLOSED


async def test_an_entry_without_fallbacks_is_asked_whatever_its_circuit_says() -> None:
    async with supervising(ScriptedProvider(ProviderUnavailable()), circuit_failures=1) as bench:
        for _ in range(5):
            await bench.answer()
        assert bench.calls == (15,)


@pytest.mark.promise("upstream:rescue")
async def test_of_many_who_come_when_the_time_is_over_one_probes() -> None:
    """Those who come to it as a fallback too, after a word to their viewers."""
    first = ScriptedProvider(ProviderRefused())
    second = Takes([ProviderUnavailable()], [5.0, ProviderUnavailable()])
    async with supervising(
        first, second, ScriptedProvider(*WELL), circuit_failures=1, circuit_seconds=15.0
    ) as bench:
        await bench.answer()
        await anyio.sleep(15)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(bench.answer)
        assert second.opened == 2


@pytest.mark.promise("cancel:disconnect")
async def test_a_probe_whose_viewer_leaves_lets_the_next_one_through() -> None:
    first = Takes([ProviderUnavailable()], [HOLD], WELL)
    async with supervising(
        first, ScriptedProvider(*WELL), circuit_failures=1, circuit_seconds=15.0
    ) as bench:
        await bench.answer()
        await anyio.sleep(15)
        generation = await bench.create(ORDER)
        with bench.viewer(generation):
            await anyio.sleep(1)
            assert await bench.done() == completed("second")
        await events_of(bench.log, generation)
        assert await bench.done() == completed("first")


class Flapping(ScriptedProvider):
    """Does not answer for a while, and is well before and after.

    Args:
        down: from when to when, on the event loop's clock.
        outage: what it does meanwhile.
    """

    def __init__(self, down: tuple[float, float], outage: Sequence[Step]) -> None:
        super().__init__()
        self._down = down
        self._outage = outage

    @property
    def is_down(self) -> bool:
        """Whether it is down."""
        begin, end = self._down
        return begin <= anyio.current_time() < end

    @override
    def script_of(self, call: int) -> Sequence[Step]:
        return self._outage if self.is_down else WELL


@dataclass
class Crowd:
    """Those who ask a service, one after the other.

    Attributes:
        answered: when each was asked and who answered.
    """

    bench: Bench
    answered: list[tuple[float, str]] = field(default_factory=list)

    async def ask(self) -> None:
        """Ask once."""
        began = anyio.current_time()
        done = await self.bench.done()
        assert done.status is Status.COMPLETED
        self.answered.append((began, done.provider))

    async def keep_asking(self, *, until: float, every: float) -> None:
        """Ask again and again."""
        async with anyio.create_task_group() as tasks:
            while anyio.current_time() < until:
                tasks.start_soon(self.ask)
                await anyio.sleep(every)


CIRCUIT = 15.0
DOWN, UP = 10.0, 70.0


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("outage", "seconds", "let_through"),
    [([ProviderUnavailable()], 0.0, 1), ([HOLD], 10.0, 1), ([0.5, Text("wel"), 0.5], 1.0, 4)],
    ids=["refuses", "is silent", "breaks off"],
)
async def test_a_primary_that_is_down_for_a_minute_is_left_in_peace_and_soon_in_use_again(
    outage: Sequence[Step], seconds: float, let_through: int
) -> None:
    """Under five requests a second, each of which is answered.

    A failure takes so many seconds. Where it comes behind the first token, a few more get through
    until it does.
    """
    zero = anyio.current_time()
    first = Flapping((zero + DOWN, zero + UP), outage)
    async with supervising(
        first, ScriptedProvider(0.1, *WELL), first_token_seconds=10.0, circuit_seconds=CIRCUIT
    ) as bench:
        crowd = Crowd(bench)
        await crowd.keep_asking(until=zero + 120, every=0.2)
    assert len(crowd.answered) == 600
    opened = DOWN + seconds + 5 * 0.2
    asked = [at - zero for at in first.asked_at]
    probes = [at for at in asked if opened <= at < UP]
    for at in probes:
        assert sum(at <= other < at + CIRCUIT - 0.001 for other in probes) <= let_through
    used_again = min(at for at in asked if at >= UP)
    assert used_again <= UP + CIRCUIT + seconds + 0.2
    answered = [(at - zero, who) for at, who in crowd.answered]
    assert {who for at, who in answered if not DOWN - 0.5 < at < used_again} == {"first"}
    assert {who for at, who in answered if opened < at < UP - 0.5} == {"second"}


# ---- What it cost


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ((Text("a"), STOP), USAGE),
        ((Text("a"), Finish(reason="stop")), counted(1)),
        ((Finish(reason="stop"),), counted(0)),
        ((Text("a"), HOLD), counted(1)),
        ((Reasoning("a"), Text("b"), Text("c")), counted(2, thought=1)),
        ((Text("a" * 41),), counted(11)),
        ((ProviderUnavailable(),), None),
        ((ProviderTimedOut("connect"),), None),
        ((HOLD,), counted(0)),
    ],
)
async def test_usage_is_the_providers_own_else_an_estimate_else_nothing(
    script: tuple[Step, ...], usage: Usage | None
) -> None:
    """Nothing only where no provider can have charged for anything."""
    async with supervising(ScriptedProvider(*script), attempts=1) as bench:
        assert (await bench.done()).usage == usage


@pytest.mark.promise("upstream:rescue")
async def test_a_call_that_failed_is_not_counted_with_the_one_that_answered() -> None:
    provider = Takes([Text("one "), Text("two ")], [Text("one two three"), STOP])
    async with supervising(provider) as bench:
        assert (await bench.done()).usage == USAGE


# ---- Leaving in the middle of it


def in_backoff() -> list[ScriptedProvider]:
    return [ScriptedProvider(rate_limited(50.0))]


def in_a_fallbacks_connect() -> list[ScriptedProvider]:
    return [ScriptedProvider(ProviderRefused()), ScriptedProvider(STOP, entering=HOLD)]


def in_a_fallbacks_silence() -> list[ScriptedProvider]:
    return [ScriptedProvider(ProviderRefused()), ScriptedProvider(HOLD)]


def in_a_rescue_that_connects() -> list[ScriptedProvider]:
    return [Takes([Text("a"), Text("b")], [HOLD])]


def in_a_rescue_that_catches_up() -> list[ScriptedProvider]:
    return [Takes([Text("a"), Text("b")], [Text("a"), HOLD])]


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("is_stop", [False, True], ids=["the viewer leaves", "it is stopped"])
@pytest.mark.parametrize(
    ("providers", "calls", "usage"),
    [
        (in_backoff, (1,), None),
        (in_a_fallbacks_connect, (1, 1), counted(0)),
        (in_a_fallbacks_silence, (1, 1), counted(0)),
        (in_a_rescue_that_connects, (2,), counted(2)),
        (in_a_rescue_that_catches_up, (2,), counted(2)),
    ],
)
async def test_wherever_it_is_leaving_closes_everything_at_once(
    providers: Any, calls: tuple[int, ...], usage: Usage | None, *, is_stop: bool
) -> None:
    """`supervising` sees that every call is closed, every place given back, and no task left."""
    async with supervising(*providers()) as bench:
        before = len(anyio.get_running_tasks())
        generation = await bench.create(ORDER)
        with bench.viewer(generation):
            await anyio.sleep(20)
            assert bench.calls == calls
            assert sum(bench.places) == 1
            if is_stop:
                await bench.stop(generation)
        left_at = anyio.current_time()
        *_, done = await events_of(bench.log, generation)
        assert isinstance(done, Done)
        assert done.outcome is (Outcome.CLIENT_STOP if is_stop else Outcome.NO_VIEWERS)
        assert done.provider == ("first", "second")[len(calls) - 1]
        assert done.usage == usage
        assert anyio.current_time() == pytest.approx(left_at, abs=0.001)
        await anyio.wait_all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == before
        await anyio.sleep(TOTAL)
        assert bench.calls == calls
