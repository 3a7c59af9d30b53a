"""Connections of redis-py, each lent for one command at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio import Redis


@asynccontextmanager
async def pooled(client: "Redis") -> AsyncIterator[Any]:
    """Lend a connection of a client's pool, and close it if the command does not get its reply."""
    pool = client.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        yield connection
    except ResponseError:
        raise
    except BaseException:
        await connection.disconnect(nowait=True)  # a late reply must not answer another command
        raise
    finally:
        await pool.release(connection)


class KeptConnection:
    """A connection that one task keeps between its commands, instead of giving it back to the pool.

    The pool checks each connection that it lends, which costs a third of a short script call (redis-py 8.1.0). Without
    this check, a command fails if the server has closed the connection since the last one; `Store` repeats it.

    Args:
        client: has the pool.
    """

    def __init__(self, client: "Redis") -> None:
        self._pool = client.connection_pool
        self._connection: Any = None

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """Lend it, and close it if the command does not get its reply; one command at a time."""
        connection = self._connection
        if connection is None:
            connection = self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            yield connection
        except ResponseError:
            raise
        except BaseException:
            self._connection = None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
            raise


async def reply_of(connection: Any, command: bytes) -> Any:
    """Send a packed command, and return its reply."""
    await connection.send_packed_command(command)
    return await connection.read_response()
