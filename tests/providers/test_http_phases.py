"""The phases of an exchange, driven byte by byte without a socket."""

import itertools
from typing import Any

import pytest

from streamsvc.providers.http.connection import TRANSITIONS, Connection, Phase, Step
from streamsvc.providers.http.errors import BodyCut, NoResponse

REQUEST = b"POST / HTTP/1.1\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


class Transport:
    """Records the calls of the connection."""

    def __init__(self) -> None:
        self.written = b""
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, _name: str) -> Any:
        return Socket()


class Socket:
    """A transport that is already closed."""

    family = type = proto = 0

    def fileno(self) -> int:
        raise OSError


def connected() -> tuple[Connection, Transport]:
    transport: Any = Transport()
    connection = Connection(lambda _: None)
    connection.connection_made(transport)
    return connection, transport


async def reached(phase: Phase) -> Connection:
    """Return a connection in a phase, reached by the steps of a server."""
    connection, _ = connected()
    if phase is Phase.IDLE:
        return connection
    sending = connection.send(REQUEST)
    sending.send(None)  # up to its first wait
    sending.close()
    data = {Phase.HEAD: HEAD[:9], Phase.BODY: HEAD, Phase.COMPLETE: HEAD + b"one"}
    if phase in data:
        connection.data_received(data[phase])
    if phase is Phase.FAILED:
        connection.connection_lost(ConnectionResetError())
    assert connection._phase is phase
    return connection


@pytest.mark.parametrize("phase", list(Phase))
async def test_every_phase_is_reached_by_a_server(phase: Phase) -> None:
    assert (await reached(phase)).is_idle == (phase is Phase.IDLE)


def test_every_phase_but_failed_leads_on() -> None:
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) - {Phase.FAILED}
    assert set(TRANSITIONS.values()) == set(Phase)
    assert {step for _, step in TRANSITIONS} == set(Step)


@pytest.mark.parametrize(("phase", "step"), list(itertools.product(Phase, Step)))
async def test_illegal_step_is_a_mistake(phase: Phase, step: Step) -> None:
    connection = await reached(phase)
    if (phase, step) in TRANSITIONS:
        connection._move(step)
        assert connection._phase is TRANSITIONS[phase, step]
    else:
        with pytest.raises(KeyError):
            connection._move(step)
        assert connection._phase is phase


@pytest.mark.parametrize("phase", [it for it in Phase if it is not Phase.IDLE])
async def test_second_request_needs_a_released_connection(phase: Phase) -> None:
    connection = await reached(phase)
    with pytest.raises((KeyError, NoResponse)):
        await connection.send(REQUEST)


@pytest.mark.parametrize("phase", list(Phase))
async def test_abort_works_in_every_phase_and_twice(phase: Phase) -> None:
    connection = await reached(phase)
    connection.abort()
    connection.abort()
    assert not connection.is_idle
    connection.release()
    assert not connection.is_idle


@pytest.mark.parametrize(
    ("phase", "has_begun"), [(Phase.WAITING, False), (Phase.HEAD, True)], ids=str
)
async def test_lost_connection_says_whether_a_response_had_begun(
    phase: Phase, has_begun: object
) -> None:
    connection = await reached(phase)
    connection.connection_lost(None)
    assert isinstance(connection._failure, NoResponse)
    assert connection._failure.has_begun is has_begun


async def test_lost_connection_cuts_a_body_but_not_a_complete_one() -> None:
    for phase in (Phase.BODY, Phase.COMPLETE):
        connection = await reached(phase)
        connection.connection_lost(None)
        pieces: list[bytes] = []

        def take(data: bytes, pieces: list[bytes] = pieces) -> bool:
            pieces.append(data)
            return True

        if phase is Phase.BODY:
            with pytest.raises(BodyCut):
                await connection.read(take)
        else:
            await connection.read(take)
            assert pieces == [b"one"]


async def test_failed_connection_ignores_what_still_arrives() -> None:
    connection = await reached(Phase.BODY)
    connection.abort()
    connection.data_received(b"one")
    with pytest.raises(BodyCut):
        await connection.read(lambda _: True)


async def test_unexpected_bytes_close_the_connection() -> None:
    for phase in (Phase.IDLE, Phase.COMPLETE):
        connection = await reached(phase)
        connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not connection.is_idle
        connection.release()
        assert not connection.is_idle
