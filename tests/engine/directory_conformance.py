"""The conformance suite of `Directory`, as checks that take a directory and its event log.

A test of an implementation runs every check of `CONTRACT`, and no check knows the implementation. The clock may be
virtual; where it is not, `Subject` says how long a check may wait, and how time passes in the store.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from typing_extensions import override

from streamsvc.engine.directory import base
from streamsvc.engine.directory.base import (
    ChatAnswer,
    Directory,
    KeyUse,
    RunningGeneration,
)
from streamsvc.eventlog.base import EventLog
from streamsvc.events import Done, Outcome, Start, Status
from streamsvc.messages import GenerationRequest, Prompt, UserMessage


@dataclass
class Subject:
    """A directory under test.

    Attributes:
        directory: the directory.
        log: shows it which generations are kept.
        drop: drops the log of a generation.
        sleep: lets seconds pass for what the directory keeps.
        unit: how many seconds a check waits at least where the order of events depends on it.
        is_shared: whether other processes may run generations that this one does not know of.
    """

    directory: Directory
    log: EventLog
    drop: Callable[[str], None]
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    unit: float = 1.0
    is_shared: bool = False


Check = Callable[[Subject], Awaitable[None]]

CONTRACT: list[Check] = []


def contract(check: Check) -> Check:
    """Add a check to `CONTRACT`."""
    CONTRACT.append(check)
    return check


class Counted:
    """An audience that only counts."""

    def __init__(self) -> None:
        self.size = 0

    def join(self) -> None:
        self.size += 1

    def leave(self) -> None:
        self.size -= 1


@dataclass
class Ends(RunningGeneration):
    """A generation that ends some time after it is stopped.

    Attributes:
        takes_seconds: the time from the stop to the end.
        outcomes: the reason of each stop.
        viewers: its audience.
        has_ended: whether its end has come.
    """

    name: str
    takes_seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    viewers: Counted = field(default_factory=Counted)
    has_ended: bool = False

    @property
    @override
    def id(self) -> str:
        return self.name

    @property
    @override
    def audience(self) -> Counted:
        return self.viewers

    @property
    @override
    def request(self) -> GenerationRequest:
        return GenerationRequest(
            prompt=Prompt(messages=(UserMessage("hello"),)),
            provider="fake",
            metadata={"name": self.name},
        )

    @override
    def stop(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @override
    async def wait_ended(self) -> None:
        await anyio.sleep(self.takes_seconds)
        self.has_ended = True


async def kept(subject: Subject, generation: str) -> None:
    """Open the log of a generation."""
    subject.log.append(
        generation, Start(generation=generation, provider="fake", model="words", created=1)
    )
    await subject.log.flush(generation)


# ---- Running generations, stops and audiences


@contract
async def what_enters_runs_here_in_order_until_it_leaves(subject: Subject) -> None:
    directory = subject.directory
    first, second = Ends("gen_a"), Ends("gen_b")
    await directory.enter(first)
    await directory.enter(second)
    assert [it.id for it in directory.running_here] == ["gen_a", "gen_b"]
    directory.leave(first)
    assert [it.id for it in directory.running_here] == ["gen_b"]
    directory.leave(second)
    assert len(directory.running_here) == 0


@contract
async def a_generation_runs_here_before_enter_waits(subject: Subject) -> None:
    """Otherwise the limit on their number would not hold."""
    entering = subject.directory.enter(Ends("gen_a")).__await__()
    try:
        next(entering)  # run to its first wait
    except StopIteration:
        pass
    else:
        entering.close()
    assert [it.id for it in subject.directory.running_here] == ["gen_a"]


@contract
async def a_stop_reaches_the_one_generation_with_its_reason(subject: Subject) -> None:
    first, second = Ends("gen_a"), Ends("gen_b")
    await subject.directory.enter(first)
    await subject.directory.enter(second)
    assert await subject.directory.stop("gen_a", Outcome.CLIENT_STOP)
    assert (first.outcomes, second.outcomes) == ([Outcome.CLIENT_STOP], [])


@contract
async def a_stop_waits_for_the_end(subject: Subject) -> None:
    generation = Ends("gen_a", takes_seconds=subject.unit)
    await subject.directory.enter(generation)
    await subject.directory.stop("gen_a", Outcome.CLIENT_STOP)
    assert generation.has_ended


@contract
async def a_stop_does_not_wait_forever(subject: Subject) -> None:
    generation = Ends("gen_a", takes_seconds=1000 * base.STOP_SECONDS)
    await subject.directory.enter(generation)
    began = anyio.current_time()
    assert await subject.directory.stop("gen_a", Outcome.CLIENT_STOP)
    assert anyio.current_time() - began >= base.STOP_SECONDS - 0.001
    assert not generation.has_ended


@contract
async def a_cancelled_stop_still_stops_it(subject: Subject) -> None:
    generation = Ends("gen_a", takes_seconds=1000)
    await subject.directory.enter(generation)
    with anyio.move_on_after(subject.unit) as scope:
        await subject.directory.stop("gen_a", Outcome.CLIENT_STOP)
    assert scope.cancelled_caught
    assert generation.outcomes == [Outcome.CLIENT_STOP]


@contract
async def what_does_not_run_cannot_be_stopped(subject: Subject) -> None:
    """It never ran, or has left."""
    gone = Ends("gen_a")
    await subject.directory.enter(gone)
    subject.directory.leave(gone)
    assert not await subject.directory.stop("gen_a", Outcome.CLIENT_STOP)
    assert not await subject.directory.stop("gen_never", Outcome.CLIENT_STOP)
    assert gone.outcomes == []


@contract
async def viewers_are_counted_at_once(subject: Subject) -> None:
    generation = Ends("gen_a")
    await subject.directory.enter(generation)
    audience = subject.directory.audience("gen_a")
    assert audience is not None
    audience.join()
    audience.join()
    assert generation.viewers.size == 2
    audience.leave()
    assert generation.viewers.size == 1


@contract
async def viewers_of_what_does_not_run_count_for_nobody(subject: Subject) -> None:
    generation = Ends("gen_a")
    await subject.directory.enter(generation)
    subject.directory.leave(generation)
    for name in ("gen_a", "gen_never"):
        audience = subject.directory.audience(name)
        assert audience is None or subject.is_shared
        if audience is not None:
            audience.join()
            audience.leave()
    assert generation.viewers.size == 0


# ---- Idempotency keys


async def use(subject: Subject, key: str, generation: str) -> None:
    """Use a key for a generation whose log is kept."""
    await kept(subject, generation)
    async with subject.directory.claim(key) as claim:
        assert claim.use is None
        claim.use = KeyUse(b"print", generation)


@contract
async def a_key_stands_for_what_it_was_set_to(subject: Subject) -> None:
    await use(subject, "k", "gen_a")
    await use(subject, "other", "gen_b")
    async with subject.directory.claim("k") as claim:
        assert claim.use == KeyUse(b"print", "gen_a")


@contract
async def a_claim_that_sets_nothing_changes_nothing(subject: Subject) -> None:
    async with subject.directory.claim("k") as claim:
        assert claim.use is None
    await use(subject, "k", "gen_a")
    async with subject.directory.claim("k"):
        pass
    async with subject.directory.claim("k") as claim:
        assert claim.use == KeyUse(b"print", "gen_a")


@contract
async def a_claim_that_fails_leaves_its_key_free(subject: Subject) -> None:
    with suppress(KeyError):
        async with subject.directory.claim("k") as claim:
            claim.use = KeyUse(b"print", "gen_a")
            raise KeyError
    await use(subject, "k", "gen_b")


@contract
async def a_claim_that_is_cancelled_leaves_its_key_free(subject: Subject) -> None:
    with anyio.move_on_after(subject.unit):
        async with subject.directory.claim("k"):
            await anyio.sleep_forever()
    await use(subject, "k", "gen_a")


@contract
async def one_key_is_held_by_one_claim_at_a_time(subject: Subject) -> None:
    """The second claim sees what the first one set."""
    await kept(subject, "gen_a")
    seen: list[KeyUse | None] = []

    async def claim_it() -> None:
        async with subject.directory.claim("k") as claim:
            seen.append(claim.use)
            await anyio.sleep(subject.unit)
            claim.use = claim.use or KeyUse(b"print", "gen_a")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(claim_it)
    stands = KeyUse(b"print", "gen_a")
    assert seen == [None, stands, stands]


@contract
async def a_key_is_free_when_its_log_is_dropped(subject: Subject) -> None:
    """Of a generation that has ended: a running one whose log the store loses is stored again."""
    await use(subject, "k", "gen_a")
    subject.log.append(
        "gen_a",
        Done(
            status=Status.COMPLETED,
            finish_reason="stop",
            outcome=Outcome.COMPLETED,
            provider="fake",
            model="words",
        ),
    )
    await subject.log.flush("gen_a")
    subject.drop("gen_a")
    async with subject.directory.claim("k") as claim:
        assert claim.use is None


# ---- The latest answer of a chat


def answer_of(generation: str, grace_seconds: float = 30.0) -> ChatAnswer:
    return ChatAnswer(generation=generation, grace_seconds=grace_seconds, context=b"\x00\xff")


@contract
async def a_chat_has_its_latest_answer(subject: Subject) -> None:
    directory = subject.directory
    assert await directory.answer("chat") is None
    assert await directory.put_answer("chat", answer_of("gen_a")) is None
    second = answer_of("gen_b")
    assert await directory.put_answer("chat", second) == "gen_a"
    assert await directory.answer("chat") == second
    assert await directory.answer("other") is None


@contract
async def a_sent_answer_stays_for_its_grace(subject: Subject) -> None:
    """The grace begins when a client has received all of it, however late that is."""
    directory = subject.directory
    answer = answer_of("gen_a", grace_seconds=30)
    await directory.put_answer("chat", answer)
    await subject.sleep(80_000)
    assert await directory.answer("chat") == answer
    directory.mark_sent("chat", answer)
    await subject.sleep(25)
    found = await directory.answer("chat")
    assert found is not None
    assert found.was_sent
    assert found.generation == "gen_a"
    await subject.sleep(5)
    assert await directory.answer("chat") is None


@contract
async def sending_it_again_restarts_the_grace(subject: Subject) -> None:
    answer = answer_of("gen_a", grace_seconds=30)
    await subject.directory.put_answer("chat", answer)
    for _ in range(3):
        subject.directory.mark_sent("chat", answer)
        await subject.sleep(20)
    assert await subject.directory.answer("chat") is not None


@contract
async def an_older_turn_that_is_sent_does_not_touch_the_latest(subject: Subject) -> None:
    """Not even if both are the same generation, as with two requests that share an idempotency key."""
    older, latest = answer_of("gen_a"), answer_of("gen_a")
    await subject.directory.put_answer("chat", older)
    await subject.directory.put_answer("chat", latest)
    subject.directory.mark_sent("chat", older)
    assert await subject.directory.answer("chat") == latest


@contract
async def a_dropped_answer_is_returned_once(subject: Subject) -> None:
    directory = subject.directory
    answer = answer_of("gen_a")
    await directory.put_answer("chat", answer)
    assert await directory.drop_answer("chat") == "gen_a"
    assert await directory.drop_answer("chat") is None
    assert await directory.answer("chat") is None
    directory.mark_sent("chat", answer)
    assert await directory.answer("chat") is None


@contract
async def an_answer_past_its_grace_is_not_dropped_but_gone(subject: Subject) -> None:
    answer = answer_of("gen_a", grace_seconds=1)
    await subject.directory.put_answer("chat", answer)
    subject.directory.mark_sent("chat", answer)
    await subject.sleep(1)
    assert await subject.directory.drop_answer("chat") is None
