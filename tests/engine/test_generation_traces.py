"""A generation has one span, in whichever processes it runs, and each call to a provider has one below it."""

import anyio
import msgspec
import pytest

from streamsvc.events import Text
from streamsvc.hooks import CallEnded, FirstToken, GenerationEnded, GenerationStarted
from streamsvc.messages import GenerationRequest
from streamsvc.provider_errors import ProviderUnavailable
from streamsvc.tracecontext import TraceContext, Traces, parse
from support.answers import REQUEST, STOP, supervising
from support.doubles import HOLD, ScriptedProvider, Takes, events_of, virtual_backends
from support.logged import Heard
from support.shared_store import SharedStore, Worker, workers
from support.supervisors import REQUEST as SHARED_REQUEST

anyio_backend = virtual_backends()

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ASKED_BY = Traces().request(PARENT)


def context_of(traceparent: str) -> TraceContext:
    found = parse(traceparent)
    assert found is not None
    return found


@pytest.mark.promise("seen:outside")
async def test_each_call_has_a_span_below_the_generations() -> None:
    failing = Takes((0.5, ProviderUnavailable()), (0.5, ProviderUnavailable()))
    answering = ScriptedProvider(Text("a"), STOP)
    async with supervising(failing, answering, attempts=2, backoff_seconds=0.0) as bench:
        heard = Heard(bench.hooks)
        generation = await bench.create(REQUEST, asked_by=ASKED_BY)
        await events_of(bench.log, generation)
        sent = [prompt.trace for prompt in (*failing.prompts, *answering.prompts)]
    started, ended = heard.one(GenerationStarted), heard.one(GenerationEnded)
    own = context_of(started.trace)
    assert (own.trace_id, own.is_sampled) == (TRACE, True)
    assert started.parent == ended.parent == PARENT
    assert started.trace == ended.trace == heard.one(FirstToken).trace
    calls = heard.of(CallEnded)
    assert [call.trace for call in calls] == sent  # the upstream gets the span's own id
    spans = [context_of(call.trace) for call in calls]
    assert [span.trace_id for span in spans] == [TRACE] * 3
    assert len({own.span_id, *(span.span_id for span in spans)}) == 4


async def test_an_answer_of_no_trace_sends_nothing_upstream() -> None:
    provider = ScriptedProvider(Text("a"), STOP)
    async with supervising(provider) as bench:
        heard = Heard(bench.hooks)
        await bench.answer()
    assert [prompt.trace for prompt in provider.prompts] == [""]
    ended, call = heard.one(GenerationEnded), heard.one(CallEnded)
    assert (ended.trace, ended.parent, call.trace, call.parameters) == ("", "", "", {})
    assert ended.created_at == ended.began_at


async def test_a_recorded_call_says_what_was_asked_for_but_no_text() -> None:
    prompt = msgspec.structs.replace(
        REQUEST.prompt, temperature=0.0, max_tokens=5, stop=("the-secret",), user="the-secret"
    )
    request = GenerationRequest(prompt=prompt, provider="first")
    async with supervising(ScriptedProvider(Text("a"), STOP)) as bench:
        heard = Heard(bench.hooks)
        await events_of(bench.log, await bench.create(request, asked_by=ASKED_BY))
        unsampled = Traces().request(PARENT[:-2] + "00")
        await events_of(bench.log, await bench.create(request, asked_by=unsampled))
    recorded, other = heard.of(CallEnded)
    assert recorded.parameters == {"temperature": 0.0, "max_tokens": 5}
    assert other.parameters == {}
    assert context_of(other.trace).is_sampled is False


async def test_a_trace_does_not_count_for_an_idempotency_key() -> None:
    async with supervising(ScriptedProvider(HOLD)) as bench:
        heard = Heard(bench.hooks)
        first = await bench.create(REQUEST, key="k", asked_by=ASKED_BY)
        again = Traces().request(f"00-{TRACE[::-1]}-b7ad6b7169203331-01")
        assert await bench.create(REQUEST, key="k", asked_by=again) == first
        assert await bench.create(REQUEST, key="k") == first
        await bench.stop(first)
    assert context_of(heard.one(GenerationStarted).trace).trace_id == TRACE


@pytest.mark.promise("seen:outside")
async def test_the_span_goes_on_in_the_process_that_takes_over() -> None:
    store, second = SharedStore(), ScriptedProvider(Text("Hello"), Text(" world"), STOP)
    dying = Worker(store, {"fake": ScriptedProvider(Text("Hello"), HOLD)})
    living = Worker(store, {"fake": second})
    before, after = Heard(dying._hooks), Heard(living._hooks)
    async with workers(dying, living):
        generation = await dying.create(SHARED_REQUEST, asked_by=ASKED_BY)
        dying.directory.request_of(generation)
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(1)
        dying.die()
        await living.events(generation)
    started, resumed = before.one(GenerationStarted), after.one(GenerationStarted)
    ended = after.one(GenerationEnded)
    assert started.trace == resumed.trace == ended.trace
    assert started.parent == resumed.parent == ended.parent == PARENT
    assert ended.created_at < ended.began_at
    assert context_of(second.prompts[0].trace).trace_id == TRACE
    assert after.one(CallEnded).trace != before.one(CallEnded).trace


async def test_an_answer_that_cannot_go_on_ends_its_span_elsewhere() -> None:
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(Text("Hello"), HOLD)})
    living = Worker(store, {"fake": ScriptedProvider(STOP)}, generations={"rescue": False})
    after = Heard(living._hooks)
    async with workers(dying, living):
        generation = await dying.create(SHARED_REQUEST, asked_by=ASKED_BY)
        dying.directory.request_of(generation)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        await living.events(generation)
    ended = after.one(GenerationEnded)
    assert context_of(ended.trace).trace_id == TRACE
    assert ended.parent == PARENT
