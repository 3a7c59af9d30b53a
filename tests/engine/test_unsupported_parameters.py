"""Parameters that an entry lacks: refused before anything is asked, or dropped and named."""

import logging
from typing import Any

import msgspec
import pytest

from streamsvc.errors import InvalidField, UnsupportedParameter
from streamsvc.events import Progress, Start, Text
from streamsvc.messages import GenerationRequest, ImagePart, UserMessage
from streamsvc.provider_errors import ProviderUnavailable, UpstreamCut
from support.answers import REQUEST, WELL, Bench, completed, restart, supervising, switching
from support.doubles import PROMPT, ScriptedProvider, Step, Takes, events_of, virtual_backends

anyio_backend = virtual_backends()

DROPS = {"params_lacked": ("top_k", "logit_bias"), "params_unsupported": "drop"}
LACKS = {"params_lacked": ("top_k", "logit_bias")}


def request(**parameters: Any) -> GenerationRequest:
    return msgspec.structs.replace(REQUEST, prompt=msgspec.structs.replace(PROMPT, **parameters))


async def start_of(bench: Bench, order: GenerationRequest) -> Start:
    """Ask once, watch to the end, and return the `Start`."""
    generation = await bench.create(order)
    with bench.viewer(generation):
        start = (await events_of(bench.log, generation))[0]
    assert isinstance(start, Start)
    return start


def bench_of(*scripts: tuple[Step, ...], **entries: dict[str, Any]) -> Any:
    return supervising(*(ScriptedProvider(*script) for script in scripts), entries=entries)


@pytest.mark.promise("input:clear-error")
@pytest.mark.promise("content:whole")
async def test_a_lacked_parameter_is_refused_before_anything_is_asked() -> None:
    async with bench_of(WELL, WELL, first=LACKS) as bench:
        with pytest.raises(UnsupportedParameter) as refused:
            await bench.create(request(top_k=5))
        assert refused.value.message == (
            "The provider 'first' does not support 'top_k' (params_lacked names it); leave it out,"
            ' or set providers.first.params_unsupported = "drop" in the settings.'
        )
        assert (refused.value.status, refused.value.code) == (422, "unsupported_parameter")
        assert refused.value.field == "top_k"
        assert refused.value.log_details == {"provider": "first", "field": "top_k"}
        assert bench.calls == (0, 0)
        assert (await bench.answer(request(seed=5)))[-1] == completed("first")


async def test_all_lacked_parameters_are_named_at_once() -> None:
    async with bench_of(WELL, first=LACKS) as bench:
        with pytest.raises(UnsupportedParameter, match=r"'top_k' .* and 'logit_bias' .* them out"):
            await bench.create(request(top_k=5, logit_bias={"7": 1.0}))


@pytest.mark.promise("content:whole")
async def test_images_are_refused_even_where_parameters_are_dropped() -> None:
    lacks = {"params_lacked": ("image_url",), "params_unsupported": "drop"}
    image = ImagePart(url="data:image/png;base64,iVBORw0KGgo=")
    async with bench_of(WELL, first=lacks) as bench:
        with pytest.raises(UnsupportedParameter) as refused:
            await bench.create(request(messages=(UserMessage((image,)),)))
        assert refused.value.field == "messages"
        assert refused.value.message == (
            "The provider 'first' does not support an 'image_url' part (params_lacked names it);"
            " leave it out."
        )
        assert bench.calls == (0,)


@pytest.mark.promise("content:whole")
async def test_a_dropped_parameter_is_named_and_not_sent() -> None:
    provider = ScriptedProvider(*WELL)
    async with supervising(provider, entries={"first": DROPS}) as bench:
        start = await start_of(bench, request(top_k=5, seed=3, model="larger"))
        assert start.dropped_parameters == ("top_k",)
        assert start.adjusted_parameters == {}
        assert provider.prompts == [
            msgspec.structs.replace(PROMPT, seed=3, model="larger"),
        ]


async def test_a_request_without_such_a_parameter_has_a_plain_start() -> None:
    async with bench_of(WELL, first=DROPS) as bench:
        start = msgspec.to_builtins(await start_of(bench, REQUEST))
        assert start.keys() == {"type", "generation", "provider", "model", "created"}


@pytest.mark.promise("upstream:rescue")
async def test_a_fallback_that_lacks_a_parameter_is_skipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says so the first time."""
    caplog.set_level(logging.WARNING, "streamsvc.engine.entries")
    down: tuple[Step, ...] = (ProviderUnavailable(),)
    async with bench_of(down, WELL, WELL, second=LACKS, first={"attempts": 1}) as bench:
        for _ in range(2):
            assert await bench.answer(request(top_k=5)) == [
                switching(provider="third"),
                Text("well"),
                completed("third"),
            ]
        assert bench.calls == (2, 0, 2)
        assert await bench.answer() == [switching(), Text("well"), completed("second")]
    skipped = [record.getMessage() for record in caplog.records if "skipped" in record.message]
    line = "fallback.skipped provider=first fallback=second parameter=top_k"
    assert skipped == [f"{line} setting=providers.second.params_unsupported"]


@pytest.mark.promise("upstream:rescue")
async def test_a_fallback_that_drops_a_parameter_says_so_when_it_is_called() -> None:
    first = ScriptedProvider(ProviderUnavailable())
    second = ScriptedProvider(*WELL)
    entries: dict[str, Any] = {"second": DROPS, "first": {"attempts": 1}}
    async with supervising(first, second, entries=entries) as bench:
        assert await bench.answer(request(top_k=5, seed=3, model="larger")) == [
            Progress(
                state="switching",
                provider="second",
                reason="provider_unavailable",
                dropped_parameters=("top_k",),
            ),
            Text("well"),
            completed("second"),
        ]
        assert [prompt.top_k for prompt in first.prompts] == [5]
        assert second.prompts == [msgspec.structs.replace(PROMPT, seed=3, call=2)]


@pytest.mark.promise("upstream:rescue")
async def test_a_fallback_in_the_middle_gets_the_prompt_as_it_can_take_it() -> None:
    first = Takes((Text("a"), UpstreamCut()))
    second = ScriptedProvider(*WELL)
    entries: dict[str, Any] = {"second": DROPS, "first": {"attempts": 1}}
    async with supervising(first, second, entries=entries) as bench:
        events = await bench.answer(request(logit_bias={"7": 1.0}))
        assert events[2:] == [restart(provider="second"), Text("well"), completed("second")]
        assert second.prompts[0].logit_bias == {}


async def test_extra_fields_need_the_entrys_permission() -> None:
    extra = request(extra_body={"guided_choice": ["a"]})
    allows = {"allow_extra_body": True}
    provider = ScriptedProvider(*WELL)
    async with supervising(provider, entries={"first": allows}) as bench:
        await bench.answer(extra)
        assert provider.prompts[0].extra_body == {"guided_choice": ["a"]}
    async with bench_of(WELL) as bench:
        with pytest.raises(UnsupportedParameter, match=r"'extra_body' \(allow_extra_body is"):
            await bench.create(extra)


async def test_a_refused_request_leaves_its_key_free() -> None:
    async with bench_of(WELL, first=LACKS) as bench:
        with pytest.raises(UnsupportedParameter):
            await bench.create(request(top_k=5), key="k")
        generation = await bench.create(request(seed=1), key="k")
        assert await bench.create(request(seed=1), key="k") == generation
        with pytest.raises(InvalidField, match="different request"):
            await bench.create(request(seed=2), key="k")
        with bench.viewer(generation):
            await events_of(bench.log, generation)


async def test_a_key_distinguishes_requests_that_differ_in_what_is_dropped() -> None:
    """The client asked for something else, even if the provider gets the same."""
    async with bench_of(WELL, first=DROPS) as bench:
        generation = await bench.create(request(top_k=5), key="k")
        with pytest.raises(InvalidField, match="different request"):
            await bench.create(request(top_k=6), key="k")
        with bench.viewer(generation):
            await events_of(bench.log, generation)
