"""The connections to Redis: scripts and commands with a time limit, and blocking reads.

redis-py's own retries are off, and its time limits are ours: with its defaults an idle blocking read returns after
59 s (8.1.0). Everything that goes wrong becomes a `StoreUnavailable`, and is noted in `Health`.
"""

import errno
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import anyio
from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from streamsvc.config.settings import GenerationSettings, LogSettings
from streamsvc.errors import StoreUnavailable
from streamsvc.eventloop import now
from streamsvc.hooks import Hooks
from streamsvc.store.connections import KeptConnection, pooled, reply_of
from streamsvc.store.health import Health, Trouble
from streamsvc.store.keys import Keys, home_of, new_worker_name
from streamsvc.store.leases import Lapsed, Leases, packed
from streamsvc.store.scripts import PROBE, Script
from streamsvc.traces import causes

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 1.0
"""How long a blocking read waits at most: Redis does not end it when its key is deleted or expires."""

PROBE_SECONDS = 0.5
"""How often a store that cannot be used is tried."""

_CONNECTIONS = 16
"""How many commands may run at a time; others wait for a connection."""

_PROBE_TTL_MS = 60_000

_TROUBLES = {
    "OOM": Trouble.FULL,
    "READONLY": Trouble.READ_ONLY,
    "MISCONF": Trouble.READ_ONLY,
    "NOREPLICAS": Trouble.READ_ONLY,
    "MASTERDOWN": Trouble.READ_ONLY,
    "LOADING": Trouble.UNREACHABLE,
    "CLUSTERDOWN": Trouble.UNREACHABLE,
    "NOAUTH": Trouble.MISCONFIGURED,
    "NOPERM": Trouble.MISCONFIGURED,
    "WRONGPASS": Trouble.MISCONFIGURED,
}
"""What the first word of an error means; Redis 6.2 puts that of a script's command in the middle of a sentence."""

_WORD = re.compile(rf"\b({'|'.join(_TROUBLES)})\b")

_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}

Argument = bytes | str | int | float


class Store:
    """The store, as this process uses it.

    Args:
        settings: where it is, and how long a command may take.
        hooks: get a report when it is lost, back, slow or fast.

    Attributes:
        worker: the name of this process in the store.
        home: the partition in which it makes its generations.
        keys: makes the names of keys.
        health: whether the store can be used.
        leases: what this process owns.
        lapsed: what nobody owns.
    """

    def __init__(self, settings: LogSettings, hooks: Hooks) -> None:
        self.worker = new_worker_name()
        self.home = home_of(self.worker)
        self.keys = Keys(settings.prefix)
        self.health = Health(hooks)
        self.leases = Leases(self.keys, settings.lease_seconds)
        self.lapsed = Lapsed()
        self._settings = settings
        self._commands = self._client(settings.timeout_seconds, connections=_CONNECTIONS)

    def running_ttl_ms(self, settings: GenerationSettings) -> int:
        """Return how long what is stored about a running generation lives without a beat, in ms."""
        return int(max(settings.keep_finished_seconds, 2 * self.leases.seconds) * 1000)

    async def run(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()
    ) -> Any:
        """Run a script, and return its reply.

        If the connection ends before the reply, the script is run once more: all scripts recognize their own change.

        Raises:
            StoreUnavailable: it may have been run or not.
        """
        return await self._try(lambda: self._evaluate(script, keys, arguments))

    async def run_packed(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        *,
        count: int,
        kept: KeptConnection | None = None,
    ) -> Any:
        """Run a script on many keys that are packed already; as `run`.

        redis-py packs each argument separately, which would cost more than everything else for a token.

        Args:
            script: the script.
            keys: each one or more, packed by `packed`.
            arguments: the script's.
            count: how many keys there are.
            kept: the caller's connection; otherwise it is one of the pool.
        """
        head = b"*%d\r\n$7\r\nEVALSHA\r\n" % (3 + count + len(arguments))
        head += packed(script.sha.encode()) + packed(b"%d" % count)
        command = b"".join((head, *keys, *map(packed, arguments)))
        return await self._try(lambda: self._send(script, command, kept))

    async def command(self, *parts: Argument) -> Any:
        """Run one command that may be repeated, and return its reply as redis-py parses it (RESP 2).

        Raises:
            StoreUnavailable: it may have been run or not.
        """
        return await self._try(lambda: self._commands.execute_command(*parts))  # type: ignore[no-untyped-call]

    def note_lapsed(self, generation: str) -> None:
        """Have a generation taken over; nobody can while the store cannot be used."""
        if self.health.trouble is None:
            self.lapsed.note(generation)

    def kept_connection(self) -> KeptConnection:
        """Return a connection for a task that makes many calls."""
        return KeptConnection(self._commands)

    def blocking_reads(self) -> "BlockingReads":
        """Return a connection for the blocking reads of one task."""
        seconds = BLOCK_SECONDS + self._settings.timeout_seconds
        return BlockingReads(self._client(seconds, connections=1), self.health)

    async def run_background(self) -> None:
        """While the store cannot be used, try it now and then; runs until it is cancelled, and closes the connections."""
        try:
            await self._keep_probing()
        finally:
            with anyio.CancelScope(shield=True):
                await self.close()

    async def _keep_probing(self) -> None:
        while True:
            while self.health.trouble is None:
                await self.health.wait_changed()
            await anyio.sleep(PROBE_SECONDS)
            with suppress(StoreUnavailable):
                await self.probe()

    async def probe(self) -> None:
        """Try whether it can be used, and note that.

        Raises:
            StoreUnavailable: it cannot.
        """
        with anyio.move_on_after(self._settings.timeout_seconds) as wait:
            await self._attempt(self._probe, wrote=True)
        if wait.cancelled_caught:  # redis-py's limits are for one step of many
            self.health.failed(Trouble.SILENT, "TimeoutError")
            raise StoreUnavailable(str(Trouble.SILENT))

    async def info(self, section: str) -> dict[str, Any]:
        """Return what the server says about itself; nothing if its user may not ask.

        Raises:
            StoreUnavailable: it cannot be reached.
        """

        async def ask() -> Any:
            try:
                return await self._commands.execute_command("INFO", section)  # type: ignore[no-untyped-call]
            except NoPermissionError:
                return {}

        return dict(await self._try(ask))

    async def close(self) -> None:
        """Close the connections for commands."""
        await self._commands.aclose()

    def _client(self, seconds: float, *, connections: int) -> "Redis":
        pool = BlockingConnectionPool.from_url(
            self._settings.url,
            max_connections=connections,
            timeout=seconds,
            socket_timeout=seconds,
            socket_connect_timeout=self._settings.timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name=f"streamsvc-{self.worker}",
        )
        return Redis.from_pool(pool)

    async def _send(self, script: Script, command: bytes, kept: KeptConnection | None) -> Any:
        async with kept.lend() if kept else pooled(self._commands) as connection:
            try:
                return await reply_of(connection, command)
            except NoScriptError:
                # Over this connection: if all wait for another one to load the script, there is none.
                await connection.send_command("SCRIPT", "LOAD", script.source)
                await connection.read_response()
                return await reply_of(connection, command)

    async def _probe(self) -> Any:
        key = self.keys.probe(self.worker)
        return await self._evaluate(PROBE, [key], [_PROBE_TTL_MS])

    async def _evaluate(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]
    ) -> Any:
        try:
            return await self._commands.evalsha(script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            await self._commands.script_load(script.source)
            return await self._commands.evalsha(script.sha, len(keys), *keys, *arguments)

    async def _try(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.health.is_down:
            raise StoreUnavailable(str(self.health.trouble))
        return await self._attempt(call)

    async def _attempt(self, call: Callable[[], Awaitable[Any]], *, wrote: bool = False) -> Any:
        """Make a call, and note how it went.

        Args:
            call: the call.
            wrote: whether a success shows that the store accepts writes. A script may find nothing to write, or only
                something to delete, which a full server accepts.
        """
        began = now()
        reply = await _noting(call, self.health)
        self.health.worked(now() - began, wrote=wrote)
        return reply


class BlockingReads:
    """A connection that waits for new entries of streams.

    Args:
        client: has this one connection.
        health: learns of failures.
    """

    def __init__(self, client: "Redis", health: Health) -> None:
        self._client = client
        self._health = health

    async def read(
        self, places: Sequence[tuple[bytes, str]], *, count: int, seconds: float = BLOCK_SECONDS
    ) -> list[tuple[bytes, list[tuple[bytes, list[bytes]]]]]:
        """Return the entries after a place in each of some streams; wait for the first one.

        Args:
            places: the keys, of one partition, and the id of the last entry that is known.
            count: the most entries from each.
            seconds: how long to wait, at most `BLOCK_SECONDS`.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        block = max(1, int(min(seconds, BLOCK_SECONDS) * 1000))
        arguments = [b"XREAD", b"COUNT", b"%d" % count, b"BLOCK", b"%d" % block, b"STREAMS"]
        arguments += [key for key, _ in places]
        arguments += [name.encode() for _, name in places]
        # redis-py packs each argument separately; a read of 500 keys would take twice the time.
        command = b"".join((b"*%d\r\n" % len(arguments), *map(packed, arguments)))
        return await _noting(lambda: self._send(command), self._health) or []

    async def _send(self, command: bytes) -> Any:
        async with pooled(self._client) as connection:
            return await reply_of(connection, command)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


async def _noting(call: Callable[[], Awaitable[Any]], health: Health) -> Any:
    """Make a call, once more if its connection had been closed since it was used last.

    Raises:
        StoreUnavailable: it failed, which is noted.
    """
    try:
        try:
            return await call()
        except RedisConnectionError as exc:
            if isinstance(exc, AuthenticationError | AuthorizationError):
                raise
            return await call()
    except (RedisError, OSError) as exc:
        trouble = trouble_of(exc)
        health.failed(trouble, _classes(exc))
        raise StoreUnavailable(str(trouble)) from exc


def _classes(exc: Exception) -> str:
    """Return the classes of an exception and its causes, for a log line; its text may hold a value."""
    kind, rest = type(exc).__name__, causes(exc)
    return kind if rest == "none" else f"{kind}<{rest}"


def trouble_of(exc: Exception) -> Trouble:
    """Return what a failure of redis-py says about the store."""
    code = getattr(exc, "status_code", None)  # redis-py takes it away from the sentence
    if word := _WORD.search(f"{code} {exc}"):
        return _TROUBLES[word[0]]
    if isinstance(exc, RedisTimeoutError | TimeoutError):
        return Trouble.SILENT
    if isinstance(exc, AuthenticationError | AuthorizationError | ResponseError):
        return Trouble.MISCONFIGURED
    return Trouble.SILENT if any(map(_is_local, _chain(exc))) else Trouble.UNREACHABLE


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _is_local(exc: BaseException) -> bool:
    """Return whether a failure says nothing about other processes: no route, no name, no free connection here."""
    return isinstance(exc, TimeoutError | socket.gaierror) or (
        isinstance(exc, OSError) and exc.errno in _NO_ROUTE
    )
