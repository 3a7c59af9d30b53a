"""`useChat` without React, from versions 6 and 7 of the AI SDK, unmodified, over real connections."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamsvc.config.settings import (
    AISDKSettings,
    GenerationSettings,
    LimitSettings,
    Settings,
    StreamSettings,
)
from streamsvc.dialects.ai_sdk.frames import RESTARTED, UNWATCHED
from streamsvc.errors import CursorLost
from streamsvc.provider_errors import ProviderAuthFailed, ProviderTimedOut, UpstreamCut
from support.ai_sdk import Chat, Seen, ai_sdk_chat
from support.proxy import Cut, after_events, breaking_proxy, never
from support.service import Service, serving
from support.upstreams import (
    CLOSE,
    HOLD,
    OPENAI,
    RESET,
    Call,
    Exchange,
    Script,
    Step,
    Upstream,
    finish,
    paced,
    reasoning,
    status,
    text,
    until,
    upstream,
)

pytestmark = pytest.mark.node

libraries = pytest.mark.parametrize("library", ["ai6", "ai7"])

PIECES = [f"word{number} " for number in range(12)] + ["é😀\r\n", "\u2028", "done."]
TEXT = "".join(PIECES)
OTHER = "Quite another answer."
THOUGHT = "Let me think."


def slowly(*pieces: str) -> Step:
    """Send each piece, followed by a silence that is long enough for keepalives."""
    return lambda to: to.send_tokens(map(to.call.wire.token, pieces), gap_seconds=0.02)


def silence(seconds: float) -> Step:
    """Stay silent for a time."""
    return lambda _: anyio.sleep(seconds)


@dataclass(frozen=True)
class Weather:
    """The scripts of the calls for an answer."""

    scripts: tuple[Script, ...]
    ping_seconds: float = 15.0


CALM = Weather(((reasoning("Let me ", "think."), text(*PIECES), finish()),))
WEATHERS = {
    "calm": CALM,
    "keepalives": Weather(
        ((reasoning("Let me ", "think."), slowly(*PIECES), finish()),), ping_seconds=0.008
    ),
    "rescue": Weather(
        (
            (reasoning("Let me ", "think."), text(*PIECES[:6]), CLOSE),
            (reasoning("Again."), text(*PIECES), finish()),
        )
    ),
}

weathers = pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)


class Bench:
    """A service with a scripted upstream."""

    def __init__(self, service: Service, api: Upstream) -> None:
        self.service = service
        self.api = api

    async def quiet(self) -> None:
        """Wait until no generation runs and no viewer is connected."""
        with anyio.fail_after(10):
            for generation in list(self.service.directory.running_here):
                await generation.wait_ended()
            while self.service.supervisor.running or self.service.supervisor.viewers:
                await anyio.lowlevel.checkpoint()

    async def closed(self, call: int = 0) -> Call:
        """Wait until the upstream sees the end of its connection."""
        with anyio.fail_after(10):
            seen = await self.api.call(call)
            await seen.closed.wait()
        return seen


@asynccontextmanager
async def bench(
    *scripts: Script,
    ping_seconds: float = 15.0,
    attempts: int = 2,
    idle_seconds: float = 60.0,
    **settings: Any,
) -> AsyncIterator[Bench]:
    async with upstream() as api:
        api.script(*scripts)
        entry = OPENAI.entry(
            api.url, attempts=attempts, backoff_seconds=0.01, idle_seconds=idle_seconds
        )
        whole = Settings(
            provider="openai",
            providers={"openai": entry},
            stream=StreamSettings(ping_seconds=ping_seconds),
            **settings,
        )
        async with serving(whole, {}) as service:
            yield Bench(service, api)


def assert_is_whole(seen: Seen, *, messages: int = 2) -> None:
    """Check that the chat is one question and one complete answer, and nothing is open."""
    assert (seen.status, seen.error) == ("ready", None)
    assert len(seen.messages) == messages
    assert seen.texts() == [TEXT]
    assert seen.texts("reasoning") == [THOUGHT]
    parts = [part for part in seen.answers[0]["parts"] if part["type"] != "step-start"]
    assert [(part["type"], part["state"]) for part in parts] == [
        ("reasoning", "done"),
        ("text", "done"),
    ]
    assert seen.finishes[-1].get("finishReason") == "stop"
    assert not seen.finishes[-1]["isError"]


@libraries
@weathers
@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("alive:ping")
async def test_words_grow_into_one_message(library: str, weather: Weather) -> None:
    async with (
        bench(*weather.scripts, ping_seconds=weather.ping_seconds) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        seen = await chat("send", "Hello")
    assert_is_whole(seen)
    lengths = [length for length in dict.fromkeys(seen.grown) if length]
    assert lengths == sorted(lengths)
    assert len(lengths) == len(PIECES)
    sent = at.api.calls[0].body["messages"]
    assert sent == [{"role": "user", "content": "Hello"}]


@libraries
@weathers
@pytest.mark.parametrize("reloads", [False, True], ids=["same-page", "reload"])
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_after_a_break_the_resumed_chat_has_exactly_one_message(
    library: str, weather: Weather, *, reloads: bool
) -> None:
    """The rest of the answer is generated only once the client is back."""
    back = anyio.Event()
    *before, (*last, end) = weather.scripts
    scripts = (*before, (*last, until(back), end))
    async with bench(*scripts, ping_seconds=weather.ping_seconds) as at:
        cuts = chain([after_events(12)], repeat(never))
        async with (
            breaking_proxy(at.service.port, cuts) as proxy,
            ai_sdk_chat(library, proxy.port) as chat,
        ):
            seen = await chat("send", "Hello")
            assert seen.status == "error"
            assert 0 < len(seen.texts()[0]) < len(TEXT)
            if reloads:
                assert (await chat("reload")).status == "ready"
            await chat("beginResume")
            await chat("words", len(TEXT) // 2)
            back.set()
            assert_is_whole(await chat("end"))
    assert len(at.service.log) == 1
    assert len(at.api.calls) == len(scripts)


@libraries
@weathers
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("end:exactly-one")
async def test_an_answer_that_ends_while_the_client_is_away_is_complete(
    library: str, weather: Weather
) -> None:
    """This holds for the page that was open, and for one that loads the stored chat."""
    async with bench(*weather.scripts, ping_seconds=weather.ping_seconds) as at:
        cuts = chain([after_events(7)], repeat(never))
        async with (
            breaking_proxy(at.service.port, cuts) as proxy,
            ai_sdk_chat(library, proxy.port) as chat,
        ):
            assert (await chat("send", "Hello")).status == "error"
            await at.quiet()
            await chat("reload")
            assert_is_whole(await chat("resume"))
            assert_is_whole(await chat("resume"))  # a second resume changes nothing
    assert len(at.service.log) == 1


@libraries
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("end:exactly-one")
async def test_the_lost_end_of_a_sent_answer_can_be_fetched_again(
    library: str,
) -> None:
    """The service has written all of it to a proxy, but the client got only a part."""
    async with bench(*CALM.scripts) as at:
        for left_out in (1, 40, 200):
            cuts = chain([short_of(left_out)], repeat(never))
            async with (
                breaking_proxy(at.service.port, cuts) as proxy,
                ai_sdk_chat(library, proxy.port, f"short-of-{left_out}") as chat,
            ):
                assert (await chat("send", "Hello")).status == "error"
                await at.quiet()
                assert_is_whole(await chat("resume"))
                await chat("reload")
                assert_is_whole(await chat("resume"))


LAST_CHUNK = b"0\r\n\r\n"


def short_of(left_out: int) -> Cut:
    """Break before the last *left_out* bytes of an answer and the mark of its end."""

    def cut(answer: bytes) -> int | None:
        if answer.endswith(LAST_CHUNK):
            return len(answer) - len(LAST_CHUNK) - left_out
        return None

    return cut


@libraries
@pytest.mark.parametrize("leaves", ["stop", None], ids=["stops-and-says-so", "says-so"])
@pytest.mark.promise("cancel:stop")
async def test_a_stop_closes_the_call_to_the_provider(library: str, leaves: str | None) -> None:
    async with (
        bench((text("One ", "two "), HOLD), ping_seconds=0.02) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        await chat("begin", "Hello")
        await chat("words", len("One two "))
        if leaves:
            assert (await chat(leaves)).status == "ready"
            assert at.api.calls[0].closed_at is None  # the hook has only closed its connection
        await chat("stopForReal")
        await at.closed()
        seen = await chat("end")
        assert (seen.status, seen.error, seen.texts()) == ("ready", None, ["One two "])
        assert (await chat("resume")).texts() == ["One two "]
        assert (await chat("reload")).texts() == ["One two "]
        assert (await chat("resume")).texts() == ["One two "]


@libraries
@pytest.mark.promise("cancel:disconnect")
async def test_without_a_grace_closing_the_connection_is_a_stop(library: str) -> None:
    settings: dict[str, Any] = {"ai_sdk": AISDKSettings(grace_seconds=0)}
    async with (
        bench((paced(0.01),), **settings) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        await chat("begin", "Hello")
        await chat("words", len("word word "))
        await chat("stop")
        await at.closed()


@libraries
@pytest.mark.promise("resume:honest")
async def test_resuming_after_the_grace_reports_an_incomplete_answer(
    library: str,
) -> None:
    """This holds while the answer is kept, and after that."""
    for keep_seconds, error in ((60, UNWATCHED), (0, CursorLost.message)):
        async with (
            bench(
                (text("One ", "two "), HOLD),
                ai_sdk=AISDKSettings(grace_seconds=0.01),
                generations=GenerationSettings(keep_abandoned_seconds=keep_seconds),
            ) as at,
            ai_sdk_chat(library, at.service.port) as chat,
        ):
            await chat("begin", "Hello")
            await chat("words", len("One two "))
            await chat("stop")
            await at.quiet()
            seen = await chat("resume")
            assert (seen.status, seen.error, seen.texts()) == ("error", error, ["One two "])


@libraries
@pytest.mark.promise("input:clear-error")
async def test_an_error_before_the_stream_is_shown_as_a_sentence(library: str) -> None:
    limits: dict[str, Any] = {"limits": LimitSettings(max_generations=1)}
    async with bench((text("One "), HOLD), **limits) as at:
        port = at.service.port
        async with ai_sdk_chat(library, port) as chat, ai_sdk_chat(library, port, "b") as other:
            image = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
            seen = await chat("push", {"text": "What is it?", "files": [image]})
            assert (seen.status, seen.error) == (
                "error",
                "Invalid 'messages[0].parts[0].url': the data is not image/png.",
            )
            await other("begin", "Hello")
            await other("words", 4)
            await chat("reload")
            seen = await ai_error(chat, "send", "Hello")
            assert "is not image/png" in str(seen.error)
        async with ai_sdk_chat(library, port, "c") as third:
            seen = await ai_error(third, "send", "Hello")
            assert seen.error == (
                "The service is at its configured limit (limits.max_generations)."
            )
            assert seen.answers == []


async def ai_error(chat: Chat, command: str, argument: str) -> Seen:
    seen = await chat(command, argument)
    assert seen.status == "error"
    return seen


ENDS: Mapping[str, Step] = {"close": CLOSE, "reset": RESET, "tidy": Exchange.end}


@libraries
@pytest.mark.parametrize("transport", ["default", "text"])
@pytest.mark.promise("end:exactly-one")
async def test_a_truncated_answer_never_looks_finished(library: str, transport: str) -> None:
    """This holds for every kind of break, after keepalives, and after a resume."""
    scripts = [(text("One ", "two "), silence(0.03), end) for end in ENDS.values()]
    async with bench(*scripts, ping_seconds=0.01, attempts=1) as at:
        for name in ENDS:
            async with ai_sdk_chat(library, at.service.port, name, transport=transport) as chat:
                seen = await ai_error(chat, "send", "Hello")
                assert seen.texts() == ["One two "]
                assert seen.finishes[-1]["isError"]
                if transport == "default":
                    assert seen.error == UpstreamCut.message
                again = await chat("resume")
                assert (again.status, again.texts()[-1]) == ("error", "One two ")


@libraries
async def test_a_failure_is_shown_as_its_public_sentence(library: str) -> None:
    async with (
        bench((status(401),), attempts=1) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        seen = await ai_error(chat, "send", "Hello")
        assert seen.error == ProviderAuthFailed.message
        assert seen.texts() == [""]


REWORDED = (
    (reasoning("Hm."), text(*PIECES[:6]), CLOSE),
    (reasoning("Ah."), text(*OTHER.split(" ")), finish()),
)


@libraries
async def test_a_restart_is_an_error_and_a_resume_shows_the_new_answer(
    library: str,
) -> None:
    """In neither version of the SDK does a chunk exist that takes back shown text."""
    async with (
        bench(*REWORDED) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        seen = await ai_error(chat, "send", "Hello")
        assert (seen.error, seen.texts()) == (RESTARTED, ["".join(PIECES[:6])])
        assert [note["type"] for note in seen.notes] == ["data-status", "data-restart"]
        for _ in range(2):
            seen = await chat("resume")
            assert (seen.status, seen.texts()) == ("ready", [OTHER.replace(" ", "")])
            assert len(seen.messages) == 2
            await at.quiet()
    assert len(at.service.log) == 1


@libraries
async def test_one_line_in_a_page_heals_a_restart(library: str) -> None:
    async with (
        bench(*REWORDED) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        await chat("heal")
        await chat("send", "Hello")
        seen = await chat("finishes", 2)
        assert (seen.status, seen.texts()) == ("ready", [OTHER.replace(" ", "")])
        assert len(seen.messages) == 2


@libraries
@pytest.mark.promise("fan-out:shared")
async def test_two_tabs_share_an_answer_and_a_new_message_ends_it(library: str) -> None:
    script = (text("One ", "two "), HOLD)
    async with bench(script, (text("New."), finish())) as at:
        port = at.service.port
        async with ai_sdk_chat(library, port) as chat, ai_sdk_chat(library, port) as tab:
            await chat("begin", "Hello")
            await chat("words", len("One two "))
            await tab("beginResume")
            seen = await tab("words", len("One two "))
            assert seen.texts() == ["One two "]
            assert len(at.api.calls) == 1
            async with ai_sdk_chat(library, port) as third:
                assert (await third("send", "And now?")).texts() == ["New."]
            await at.closed()
            for one in (chat, tab):
                seen = await one("end")
                assert (seen.status, seen.texts()) == ("ready", ["One two "])
            await tab("resume")
            assert (await tab("look")).texts()[-1] == "New."


@libraries
@pytest.mark.promise("resume:never-regenerate")
async def test_the_model_gets_the_history_and_regenerate_replaces(
    library: str,
) -> None:
    first = (reasoning("Hm."), text("First."), finish())
    async with (
        bench(first, (text("Second."), finish()), (text("Third."), finish())) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        await chat("send", "One?")
        assert (await chat("send", "Two?")).texts() == ["First.", "Second."]
        seen = await chat("regenerate")
        assert seen.texts() == ["First.", "Third."]
        assert [message["role"] for message in seen.messages] == ["user", "assistant"] * 2
    asked_again = at.api.calls[2].body["messages"]
    assert asked_again == at.api.calls[1].body["messages"]
    assert asked_again == [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "First."},
        {"role": "user", "content": "Two?"},
    ]


@libraries
async def test_limits_and_filters_of_the_model_are_finish_reasons(library: str) -> None:
    reasons = ["length", "content_filter"]
    async with bench(*((text("One "), finish(reason)) for reason in reasons)) as at:
        for reason in ["length", "content-filter"]:
            async with ai_sdk_chat(library, at.service.port, reason) as chat:
                seen = await chat("send", "Hello")
                assert (seen.status, seen.texts()) == ("ready", ["One "])
                assert seen.finishes[-1]["finishReason"] == reason


# ---- Plain text


@libraries
@weathers
async def test_plain_text_grows_into_one_message(library: str, weather: Weather) -> None:
    async with (
        bench(*weather.scripts, ping_seconds=weather.ping_seconds) as at,
        ai_sdk_chat(library, at.service.port, transport="text") as chat,
    ):
        seen = await chat("send", "Hello")
    assert (seen.status, seen.texts()) == ("ready", [TEXT])


@libraries
async def test_a_restart_in_plain_text_is_an_error_and_stops(library: str) -> None:
    script = (text("Quite ", "another "), HOLD)
    async with (
        bench((text(*PIECES[:6]), CLOSE), script) as at,
        ai_sdk_chat(library, at.service.port, transport="text") as chat,
    ):
        seen = await ai_error(chat, "send", "Hello")
        assert seen.texts() == ["".join(PIECES[:6])]
        await at.closed(1)


@libraries
@pytest.mark.promise("cancel:disconnect")
async def test_a_client_of_plain_text_that_leaves_stops_the_answer(library: str) -> None:
    async with (
        bench((paced(0.01),)) as at,
        ai_sdk_chat(library, at.service.port, transport="text") as chat,
    ):
        await chat("begin", "Hello")
        await chat("words", len("word word "))
        await chat("stop")
        await at.closed()


@libraries
@pytest.mark.promise("upstream:bounded")
async def test_a_provider_that_falls_silent_is_an_error(library: str) -> None:
    script = (text("One "), HOLD)
    async with (
        bench(script, ping_seconds=0.02, attempts=1, idle_seconds=0.1) as at,
        ai_sdk_chat(library, at.service.port) as chat,
    ):
        seen = await ai_error(chat, "send", "Hello")
        assert seen.error == ProviderTimedOut("idle").message
