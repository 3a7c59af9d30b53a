"""When a process dies, another one goes on with its generations: the provider is asked again, and nothing is doubled."""

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.errors import GenerationNotFound
from streamsvc.eventlog.base import EPOCH_SEQS, LogTakenOver
from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Progress,
    Reasoning,
    Restart,
    Start,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from streamsvc.messages import FilePart, GenerationRequest, Prompt, UserMessage
from streamsvc.providers.base import Finish
from support.doubles import HOLD, PROMPT, ScriptedProvider, Step, Takes, read_all, virtual_backends
from support.shared_store import SharedStore, Worker, workers
from support.supervisors import REQUEST, STOP

anyio_backend = virtual_backends()

RETRYING = Progress(state="retrying", provider="fake", reason="worker_lost")
DRAFT = ToolCallBegun(index=0, id="call_1", name="get")
CALL = ToolCallReady(index=0, id="call_1", name="get", arguments="{}")


async def taken_over(
    *before: Step,
    again: Sequence[Step] = (Text("Hello"), Text(" world"), STOP),
    request: GenerationRequest | None = REQUEST,
    stop: Outcome | None = None,
    times: int = 1,
    **settings: Any,
) -> tuple[list[Event], ScriptedProvider]:
    """Have one process say something and die, and another one take over.

    Returns:
        All events after the `Start`, as a viewer of the second process gets them, and the provider of that process.
    """
    store, second = SharedStore(), ScriptedProvider(*again)
    dying = Worker(store, {"fake": ScriptedProvider(*before, HOLD)})
    living = Worker(store, {"fake": second}, **settings)
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        store.kept[generation].request = request
        store.kept[generation].stop = stop
        store.kept[generation].epoch = times - 1
        dying.die()
        events = await living.events(generation)
        await anyio.wait_all_tasks_blocked()
        assert living.running == 0
        assert second.opened == second.closed
    assert isinstance(events[0], Start)
    return events[1:], second


def done_of(events: Sequence[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("scale:told")
async def test_the_same_answer_goes_on_where_it_broke_off() -> None:
    events, provider = await taken_over(Text("He"), Text("llo"))
    assert events[:-1] == [Text("He"), Text("llo"), RETRYING, Text(" world")]
    done = done_of(events)
    assert (done.status, done.outcome) == (Status.COMPLETED, Outcome.COMPLETED)
    assert [prompt.call for prompt in provider.prompts] == [2]


@pytest.mark.promise("upstream:rescue")
async def test_another_answer_is_announced() -> None:
    events, _ = await taken_over(Text("Hi there"))
    restart = Restart(reason="worker_lost", provider="fake", model="words")
    assert events[1:-1] == [RETRYING, restart, Text("Hello"), Text(" world")]


async def test_before_the_first_token_viewers_only_see_a_status() -> None:
    events, _ = await taken_over()
    assert events[:-1] == [RETRYING, Text("Hello"), Text(" world")]


async def test_reasoning_that_viewers_have_is_not_repeated() -> None:
    again = (Reasoning("Other thoughts."), Text("Hello"), STOP)
    events, _ = await taken_over(Reasoning("Thoughts."), again=again)
    assert events[:-1] == [Reasoning("Thoughts."), RETRYING, Text("Hello")]


async def test_a_draft_of_a_call_is_replaced() -> None:
    whole = Finish(reason="tool_calls", tool_calls=(CALL,))
    arguments = ToolCallArguments(index=0, arguments='{"a')
    events, _ = await taken_over(DRAFT, arguments, again=(DRAFT, whole))
    restart = Restart(reason="worker_lost", provider="fake", model="words")
    assert events[:-1] == [DRAFT, arguments, RETRYING, restart, DRAFT, CALL]


@pytest.mark.promise("resume:no-gap")
async def test_numbers_go_on_from_the_next_epoch() -> None:
    store = SharedStore()
    first = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    second = Worker(store, {"fake": ScriptedProvider(Text("a"), Text("b"), HOLD)})
    third = Worker(store, {"fake": ScriptedProvider(Text("a"), Text("b"), Text("c"), STOP)})
    async with workers(first, second, third):
        generation = await first.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        third.log.is_dead = True  # so that the second one takes over
        first.die()
        await anyio.wait_all_tasks_blocked()
        third.log.is_dead = False
        second.die()
        with third.viewer(generation):
            records = await read_all(third.log, generation)
    assert [record.seq for record in records] == [
        *(0, 1),
        *(EPOCH_SEQS, EPOCH_SEQS + 1),
        *(2 * EPOCH_SEQS, 2 * EPOCH_SEQS + 1, 2 * EPOCH_SEQS + 2),
    ]
    assert [record.event for record in records][2:6] == [RETRYING, Text("b"), RETRYING, Text("c")]


@pytest.mark.parametrize(
    "why",
    [{"generations": {"rescue": False}}, {"request": None}, {"times": 4}],
    ids=["rescue is off", "unknown request", "too often"],
)
@pytest.mark.promise("end:exactly-one")
async def test_what_cannot_be_asked_again_ends_as_lost(why: dict[str, Any]) -> None:
    events, provider = await taken_over(Text("Hello"), **why)
    done = done_of(events)
    assert events[:-1] == [Text("Hello")]
    assert (done.status, done.finish_reason) == (Status.FAILED, "error")
    assert (done.outcome, done.provider, done.model) == (Outcome.UPSTREAM_LOST, "fake", "words")
    assert done.error is not None
    assert (done.error.code, done.error.retryable) == ("upstream_lost", True)
    assert (done.usage is None) is ("request" in why)
    assert provider.opened == 0


@pytest.mark.promise("cancel:stop")
async def test_what_was_stopped_in_the_meantime_ends_as_stopped() -> None:
    events, provider = await taken_over(Text("Hello"), stop=Outcome.CLIENT_STOP)
    done = done_of(events)
    assert (done.status, done.outcome) == (Status.STOPPED, Outcome.CLIENT_STOP)
    assert done.usage is not None
    assert done.usage.estimated
    assert provider.opened == 0


@pytest.mark.promise("content:whole")
async def test_an_answer_with_all_its_calls_is_finished() -> None:
    """Clients may have acted on the calls; a second answer could have others."""
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(HOLD)})
    living = Worker(store, {"fake": ScriptedProvider(Text("other"), STOP)})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        for event in Text("a"), DRAFT, CALL:
            dying.log.append(generation, event)
        dying.die()
        done = done_of(await living.events(generation))
    assert (done.status, done.finish_reason) == (Status.COMPLETED, "tool_calls")
    assert (done.outcome, done.model) == (Outcome.COMPLETED, "words")


@pytest.mark.promise("content:whole")
async def test_an_answer_with_some_of_its_calls_ends_as_lost() -> None:
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(HOLD)})
    living = Worker(store, {"fake": ScriptedProvider(Text("other"), STOP)})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        for event in DRAFT, replace(DRAFT, index=1, id="call_2"), CALL:
            dying.log.append(generation, event)
        dying.die()
        assert done_of(await living.events(generation)).outcome is Outcome.UPSTREAM_LOST


async def test_an_entry_that_this_process_lacks_ends_it_as_lost() -> None:
    events, _ = await taken_over(
        Text("Hello"), request=GenerationRequest(prompt=PROMPT, provider="unknown")
    )
    assert done_of(events).outcome is Outcome.UPSTREAM_LOST


@pytest.mark.promise("upstream:rescue")
async def test_the_fallback_that_was_answering_is_asked_again() -> None:
    store = SharedStore()
    primary, fallback = ScriptedProvider(Text("no"), STOP), ScriptedProvider(Text("ab"), STOP)
    section = OpenAISettings(model="m", api_key_env="", fallbacks=("spare",), attempts=1)
    dying = Worker(store, {"spare": ScriptedProvider(HOLD), "fake": ScriptedProvider(HOLD)})
    living = Worker(store, {"spare": fallback, "fake": primary}, entries={"fake": section})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        switching = Progress(state="switching", provider="spare", reason="upstream_cut")
        for event in switching, Text("a"):
            dying.log.append(generation, event)
        dying.die()
        events = await living.events(generation)
    retrying = replace(RETRYING, provider="spare")
    assert events[1:-1] == [switching, Text("a"), retrying, Text("b")]
    assert (primary.opened, fallback.opened) == (0, 1)


async def test_if_the_entry_fails_again_its_fallback_is_asked() -> None:
    store = SharedStore()
    section = OpenAISettings(model="m", api_key_env="", fallbacks=("spare",), attempts=1)
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    providers = {"spare": ScriptedProvider(Text("ab"), STOP), "fake": ScriptedProvider()}
    living = Worker(store, providers, entries={"fake": section})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        events = await living.events(generation)
    switching = Progress(state="switching", provider="spare", reason="upstream_cut")
    assert events[1:-1] == [Text("a"), RETRYING, switching, Text("b")]


async def test_the_limits_do_not_apply_to_what_was_admitted_once() -> None:
    store = SharedStore()
    file = FilePart(url="data:application/pdf;base64," + "A" * 1000)
    request = GenerationRequest(
        prompt=Prompt(messages=(UserMessage((file,)),)), provider="fake", grace_seconds=0.0
    )
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    living = Worker(
        store, {"fake": ScriptedProvider(Text("a"), 1.0, STOP)}, room=1, max_generations=1
    )
    async with workers(dying, living):
        own = await living.create(REQUEST)
        generations = [await dying.start(request) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        dying.die()
        await anyio.wait_all_tasks_blocked()
        assert living.running == 4
        async with anyio.create_task_group() as tasks:
            for generation in (own, *generations):
                tasks.start_soon(living.events, generation)
        await anyio.wait_all_tasks_blocked()
        assert living.running == 0
        assert next(iter(living.entries)).running == 0
        assert living._data_bytes == 0


async def test_without_viewers_it_stops_after_the_time_for_the_first_one() -> None:
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    living = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        await anyio.sleep(4.9)
        assert living.running == 1
        await anyio.sleep(0.2)
        assert done_of(await living.events(generation)).outcome is Outcome.NO_VIEWERS


async def test_only_one_process_takes_over_and_only_once() -> None:
    store = SharedStore()
    providers = [ScriptedProvider(Text("a"), Text("b"), STOP) for _ in range(3)]
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    others = [Worker(store, {"fake": provider}) for provider in providers]
    async with workers(dying, *others):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        for _ in range(3):
            store.lapse(generation)
        seen = [await other.events(generation) for other in others]
    assert sum(provider.opened for provider in providers) == 1
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1:-1] == [Text("a"), RETRYING, Text("b")]


async def test_it_loads_the_log_as_soon_as_the_store_answers() -> None:
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    living = Worker(store, {"fake": ScriptedProvider(Text("a"), STOP)})
    living.log.adopting_fails = 3
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        assert done_of(await living.events(generation)).outcome is Outcome.COMPLETED
    assert living.log.adopting_fails == 0
    assert living.directory.takes == [generation]


@pytest.mark.promise("secret:kept")
async def test_a_take_over_that_fails_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    store = SharedStore()
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    living = Worker(store, {"fake": ScriptedProvider(Text("a"), STOP)})
    caplog.set_level(logging.INFO, "streamsvc")
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.log.is_dead = True
        for failure in GenerationNotFound(), LogTakenOver(), ValueError("the-secret-question"):
            living.directory.taking_fails = failure
            store.lapse(generation)
            await anyio.wait_all_tasks_blocked()
        store.is_down = True
        store.lapse(generation)
        await anyio.wait_all_tasks_blocked()
        store.is_down, living.directory.taking_fails = False, None
        store.lapse(generation)
        assert done_of(await living.events(generation)).outcome is Outcome.COMPLETED
    about = ("takeover.", "generation.resumed")
    lines = [line for line in caplog.messages if line.startswith(about)]
    assert lines[0].startswith(f"takeover.crashed id={generation} exception=ValueError")
    assert lines[1:] == [
        f"takeover.failed id={generation} code=store_unavailable",
        f"generation.resumed id={generation} provider=fake times=1",
    ]
    assert "secret" not in caplog.text


async def test_the_calls_of_an_answer_are_counted_over_all_processes() -> None:
    """The fake provider has faults that only affect the first call."""
    store = SharedStore()
    again = Takes((Text("a"),), (Text("a"), STOP))
    dying = Worker(store, {"fake": ScriptedProvider(Text("a"), HOLD)})
    living = Worker(store, {"fake": again})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        await living.events(generation)
    assert [prompt.call for prompt in again.prompts] == [2, 3]
