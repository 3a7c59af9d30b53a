"""An answer that breaks off after its first token is continued exactly, or replaced and announced."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.config.settings import GenerationSettings
from streamsvc.events import Done, Outcome, Progress, Reasoning, Start, Status, Text
from streamsvc.provider_errors import (
    ProviderContentFiltered,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from support.answers import (
    FIRST_TOKEN,
    IDLE,
    STOP,
    USAGE,
    WELL,
    completed,
    counted,
    failed,
    rate_limited,
    restart,
    retrying,
    supervising,
    switching,
    text_of,
)
from support.doubles import (
    HOLD,
    PROMPT,
    ScriptedProvider,
    Step,
    Takes,
    run_in_virtual_time,
    virtual_backends,
)

anyio_backend = virtual_backends()


@pytest.mark.promise("end:exactly-one")
async def test_a_rescue_refused_before_its_first_token_keeps_the_text() -> None:
    first = Takes((Text("The sky "), UpstreamCut()), (ProviderContentFiltered(),))
    async with supervising(first) as bench:
        *events, done = await bench.answer()
        assert events == [Text("The sky "), retrying("upstream_cut")]
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.INCOMPLETE, "content_filter")
        assert done.usage is not None
        assert done.usage.output_tokens > 0


@pytest.mark.promise("upstream:rescue")
async def test_a_restart_names_the_failure_that_cut_the_answer() -> None:
    first = Takes((Text("The sky "), UpstreamCut()), (ProviderUnavailable(),))
    async with supervising(first, ScriptedProvider(*WELL)) as bench:
        events = await bench.answer()
        assert restart("upstream_cut", "second") in events


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("error", [UpstreamCut(), UpstreamInvalid(), ProviderUnavailable()])
async def test_a_repeated_answer_continues_without_a_restart(error: ProviderError) -> None:
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
async def test_an_answer_that_lacked_only_its_end_is_completed() -> None:
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
async def test_a_different_answer_is_announced_by_a_restart(
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
async def test_a_break_after_a_long_silence_counts_as_silence(
    error: ProviderError, share: float, *, has_begun: bool
) -> None:
    """The fallback is called instead of a retry; after a short silence, a break is an ordinary one."""
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
async def test_an_error_response_after_a_silence_is_not_a_timeout() -> None:
    limited = ProviderRateLimited()
    provider = Takes([FIRST_TOKEN / 2, limited], [*WELL])
    async with supervising(provider) as bench:
        assert retrying(limited.code) in await bench.answer()


@pytest.mark.promise("upstream:rescue")
async def test_a_rescue_that_breaks_off_is_rescued_again() -> None:
    """It breaks off while catching up, after that, or in a different answer."""
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
async def test_each_break_restarts_the_first_token_deadline() -> None:
    """A long answer that breaks twice does not fail because of its length."""
    words: list[Step] = []
    for _ in range(5):
        words += [40.0, Text("a")]
    provider = Takes(words, [*words, 40.0, Text("b")], [*words, Text("b"), STOP])
    async with supervising(provider) as bench:
        assert await bench.done() == completed("first")
        assert bench.calls == (3,)


@pytest.mark.promise("upstream:bounded")
async def test_rescues_count_towards_the_bounds_of_calls() -> None:
    """The text stays, followed by an error, so that it never looks complete."""
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
async def test_without_rescue_an_answer_that_breaks_off_is_an_error(
    said: Text | Reasoning,
) -> None:
    first, second = ScriptedProvider(said), ScriptedProvider(*WELL)
    async with supervising(first, second, generations={"rescue": False}) as bench:
        usage = counted(1) if isinstance(said, Text) else counted(0, thought=1)
        assert await bench.answer() == [said, failed("first", UpstreamCut(), usage)]
        assert bench.calls == (1, 0)


@pytest.mark.promise("upstream:rescue")
async def test_without_rescue_a_failure_before_the_first_token_is_retried() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, generations={"rescue": False}) as bench:
        assert await bench.done() == completed("second")
        assert bench.calls == (3, 1)


@pytest.mark.promise("upstream:rescue")
async def test_reasoning_is_shown_once() -> None:
    """Models rarely reason alike twice, so the reasoning before the text is not compared."""
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
async def test_a_complete_answer_that_closes_slowly_is_completed() -> None:
    """The deadline that passes while the call closes does not apply to it."""
    provider = ScriptedProvider(Text("a"), IDLE - 0.5, STOP, leaving=2.0)
    async with supervising(provider, ScriptedProvider(*WELL)) as bench:
        assert await bench.answer() == [Text("a"), completed("first")]


@st.composite
def outages(draw: st.DrawFn) -> list[list[list[Step]]]:
    """The scripts of two providers for each call: some deltas, and an end or a break."""
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
def test_viewers_end_up_with_one_complete_answer_or_an_error(
    backend: str,
) -> None:
    """They never get parts of two answers or a part that looks complete, and calls stay within their bound."""

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
