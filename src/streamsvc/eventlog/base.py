"""The port of every event log: numbered records per generation, read with a cursor."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from typing import Protocol

from streamsvc.errors import LogError
from streamsvc.events import Event, Record

BEFORE_FIRST = -1
"""The cursor of a viewer that has seen nothing: the first record is 0."""

EPOCH_SEQS = 1_000_000_000
"""Each process that takes over a log numbers its records from the next multiple of this. No log has as many records."""

BATCH_RECORDS = 256
"""The maximum number of records that one read returns, so that no replay holds up the event loop."""

WAIT_SECONDS = 60.0
"""How long one call of `read` waits for the next record; then the reader calls again."""


class Reader(Protocol):
    """Follows a generation. Neither method waits, and neither raises."""

    def deliver(self, records: Sequence[Record]) -> int:
        """Take some of the next records, of which there is at least one; return how many were taken.

        The others are delivered again at once. After a 0, nothing is delivered until the reader calls
        `Following.resume`.
        """
        ...

    def lost(self) -> None:
        """Learn that there is nothing to follow: the log has been dropped, or never reached the cursor."""
        ...

    def interrupted(self) -> None:
        """Learn that this process cannot deliver the rest; a new request with the cursor may get it.

        Nothing more is delivered.
        """
        ...


class Following(Protocol):
    """A reader's position in a log."""

    def begin(self) -> None:
        """Deliver a first batch of what is there already within this call, to every follower at its position.

        It saves the reader an iteration of the event loop, and a write. It may be left out.
        """
        ...

    def resume(self) -> None:
        """Ask for records again, after a `deliver` that took none."""
        ...

    def close(self) -> None:
        """Stop following: the reader is not called again. May be called more than once."""
        ...


class EventLog(Protocol):
    """An append-only log per generation: one writer, any number of readers.

    Records are numbered 0, 1, 2 … without gaps. Only if another process takes over the writing, the numbers go on
    from the next multiple of `EPOCH_SEQS`: a number that a viewer may have seen is never used for another event,
    even if that event was never stored. A generation's log is opened by its `Start` and
    closed by its `Done`; some time after that it is dropped as a whole. Every reader has its own
    cursor, so a slow, late or vanished reader costs the log nothing and delays no other. The methods
    match those of a Redis stream: `XADD` with explicit ids, and `XREAD BLOCK`. With `follow`, the log
    does the reading, so that one wake-up serves all followers.
    """

    def append(self, generation: str, event: Event) -> None:
        """Append *event* after the last record and wake the readers.

        The writer does not wait until it is stored: tokens arrive in callbacks, and faster than a
        network could store them. Where storing matters, the writer awaits `flush`.

        Raises:
            GenerationNotFound: the log is not open: it has no `Start` yet, or was dropped.
            LogClosed: the log already ends in its `Done`.
            LogFull: the generation's log has reached its limit. A `ToolCallReady` and a `Done` are always accepted:
                viewers get all calls of an answer or none.
            LogTakenOver: another process writes this log now; nothing was appended.
            Overloaded: for a `Start`, if all logs together have reached theirs.
        """
        ...

    def flush(self, generation: str) -> Awaitable[None]:
        """Wait until everything appended is stored; return `NO_WAIT` if it is.

        Raises:
            GenerationNotFound: the log was dropped before that.
            LogTakenOver: another process writes this log now.
            Overloaded: the store has no room for it, or cannot be reached.
        """
        ...

    async def adopt(self, generation: str) -> None:
        """Load a log that this process has just taken over (`Directory.take`), so that it can be appended to.

        Raises:
            GenerationNotFound: no such log, or it has been dropped.
            LogTakenOver: another process has taken it over in the meantime.
            StoreUnavailable: the store cannot be reached.
        """
        ...

    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        """Return the stored records with `seq > after`, in order, at most `BATCH_RECORDS` of them.

        If there is none, wait up to *wait_seconds* for the next one; an empty result means that none
        came. A long log is read in many calls, each of which lets other tasks run. May be cancelled
        at any time.

        Raises:
            GenerationNotFound: no such log, or it has been dropped.
            LogEnded: *after* is the `Done`: there will never be more.
            CursorLost: *after* is beyond the last record: what was there is gone.
            CursorReplaced: only the record at *after* is gone.
            StoreUnavailable: the store cannot be reached.
        """
        ...

    def follow(self, generation: str, *, after: int, reader: Reader) -> Following:
        """Deliver the records with `seq > after` to a reader, in order, as they come, up to the `Done`.

        They are delivered soon after they are stored, and never within this call or within `append`;
        waiting records come together, in batches of at most `BATCH_RECORDS`. Readers at the same position
        get the same `Record` objects. Nothing follows a `Done`: a reader whose cursor is there is never
        called.
        """
        ...


async def stored_batches(log: EventLog, generation: str) -> AsyncIterator[Sequence[Record]]:
    """Iterate over the records stored now, without waiting for more. Other tasks run in between.

    Raises:
        GenerationNotFound: no such log, or it has been dropped.
    """
    after = BEFORE_FIRST
    with suppress(LogEnded):
        while records := await log.read(generation, after=after):
            yield records
            after = records[-1].seq


async def live_records(log: EventLog, generation: str) -> AsyncIterator[Record]:
    """Iterate over the stored records and those that follow, up to and including the `Done`.

    Raises:
        GenerationNotFound: no such log, or it has been dropped.
    """
    after = BEFORE_FIRST
    with suppress(LogEnded):
        while True:
            for record in await log.read(generation, after=after, wait_seconds=WAIT_SECONDS):
                yield record
                after = record.seq


class LogEnded(LogError):
    """A reader has all records that there will ever be."""


class LogFull(LogError):
    """A generation's log has reached its limit."""


class LogTakenOver(LogError):
    """Another process writes this generation's log now."""


class LogClosed(LogError):
    """Something was appended after a `Done`: a bug in the program."""
