"""What passes between the supervisor and a worker: messages, and descriptors in an environment variable."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streamsvc.server.shares import Shares
from streamsvc.server.workers.channel import Channel
from streamsvc.server.workers.inheritance import VARIABLE, Inheritance, inherit
from streamsvc.server.workers.process import WorkerProcess


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Channel]]:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    with ours:
        yield ours, channel
    channel.close()


def test_messages_in_pieces_are_read_whole(ends: tuple[socket.socket, Channel]) -> None:
    peer, channel = ends
    assert channel.receive() == ()
    peer.sendall(b"ready 10")
    assert channel.receive() == []
    peer.sendall(b".5 3\nleave\nsig")
    assert channel.receive() == [["ready", "10.5", "3"], ["leave"]]


def test_the_end_of_the_other_process_is_none(ends: tuple[socket.socket, Channel]) -> None:
    peer, channel = ends
    peer.close()
    assert channel.receive() is None
    channel.send("ready", 1, 2)  # is lost
    states = [channel.is_closed]
    channel.close()
    states.append(channel.is_closed)
    assert states == [False, True]
    assert channel.receive() is None


def test_messages_are_lines(ends: tuple[socket.socket, Channel]) -> None:
    peer, channel = ends
    channel.send("ready", 10.0, 3)
    channel.send("leave")
    assert peer.recv(100) == b"ready 10.0 3\nleave\n"


def test_a_process_without_the_variable_is_no_worker() -> None:
    assert inherit({"PATH": "/bin"}) is None


def test_the_inheritance_is_taken_out_of_the_environment() -> None:
    ours, theirs = socket.socketpair()
    memory = Shares.create(3)
    with socket.create_server(("127.0.0.1", 0)) as listener, ours:
        given = Inheritance(
            number=2,
            channel=theirs.detach(),
            shares=memory,
            seats=3,
            seat=1,
            sockets=(os.dup(listener.fileno()),),
        )
        for descriptor in given.descriptors:
            os.set_inheritable(descriptor, True)
        environ = {"PATH": "/bin", **given.variable()}
        taken = inherit(environ)
        assert taken == given
        assert environ == {"PATH": "/bin"}
        assert not any(map(os.get_inheritable, taken.descriptors))
        [inherited] = taken.open_sockets()
        assert inherited.getsockname() == listener.getsockname()
        assert inherited.proto == socket.IPPROTO_TCP or sys.platform != "linux"
        inherited.close()
        channel = taken.open_channel()
        channel.send("leave")
        assert ours.recv(10) == b"leave\n"
        channel.close()
        assert not taken.open_share().is_ahead(1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(memory)


def test_a_program_that_cannot_be_started_leaves_no_descriptor() -> None:
    inheritance = Inheritance(number=1, channel=-1, shares=2, seats=3, seat=0, sockets=())
    with pytest.raises(FileNotFoundError):
        WorkerProcess(["/nonexistent"], {}, inheritance, since=0, bounds=(1, 1))
    assert VARIABLE not in os.environ


def test_a_killed_process_reports_its_signal() -> None:
    memory = Shares.create(3)
    inheritance = Inheritance(number=1, channel=-1, shares=memory, seats=3, seat=0, sockets=())
    worker = WorkerProcess(["sleep", "60"], os.environ, inheritance, since=0, bounds=(1, 1))
    os.close(memory)
    assert worker.poll() is None
    worker.kill()
    assert worker._process.wait(10) == worker.poll() == -signal.SIGKILL
    assert worker.channel.receive() is None
    worker.channel.close()


def test_the_supervisor_loads_no_server_and_no_sdk() -> None:
    code = "import sys, streamsvc.server.workers.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {*done.stdout.split()}
    assert "streamsvc.server.workers.pool" in loaded
    assert not {"uvicorn", "uvloop", "starlette", "openai", "redis", "streamsvc.app"} & loaded
