"""Connections of one client: how many a public address may have, and what the log says about it."""

import asyncio
import logging
import socket
import sys
from pathlib import Path

import anyio
import pytest

from streamsvc.server import addresses
from streamsvc.server.addresses import ANY, AddressLimit, client_of
from streamsvc.server.listening import Listening
from streamsvc.server.pending import PendingConnections, Room
from support.network import namespace, require
from support.process import environment, serve_command, started


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("2600:1:2:3:4:5:6:7", "2600:1:2:3::/64"),
        ("2600:1:2:3::1", "2600:1:2:3::/64"),
        *((host, None) for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.1.1")),
        *((host, None) for host in ("100.64.0.1", "0.0.0.0", "::1", "fe80::1%eth0", "fd00::1")),
        *((host, None) for host in ("::ffff:10.1.2.3", "::ffff:127.0.0.1", "2001:db8::1")),
    ],
)  # fmt: skip
def test_public_addresses_are_counted(host: str, client: str | None) -> None:
    assert client_of(host) == client


def test_limit_holds_for_each_address() -> None:
    limit = AddressLimit(2, lambda: 0.0)
    leases = [limit.begin("8.8.8.8") for _ in range(2)]
    assert limit.refuses("8.8.8.8")
    assert limit.refuses("::ffff:8.8.8.8")
    assert not limit.refuses("8.8.4.4")
    for lease in leases:
        assert lease is not None
        lease.end()
        lease.end()  # counts once
        assert not limit.refuses("8.8.8.8")
    assert not limit._counts


def test_addresses_without_a_limit_are_not_counted() -> None:
    limit = AddressLimit(1, lambda: 0.0)
    for unlimited, host in ((limit, "10.1.2.3"), (limit, "::1"), (ANY, "8.8.8.8")):
        assert [unlimited.begin(host) for _ in range(3)] == [None] * 3
        assert not unlimited.refuses(host)
    assert not limit._counts


def test_refusals_are_one_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which names the setting and the network, but not the address."""
    monkeypatch.setattr(addresses, "MAX_LOGGED", 3)
    now = [0.0]
    limit = AddressLimit(1, lambda: now[0])
    clients = ["8.8.8.8", "9.9.9.9", "2600:1:2:3::1", "1.1.1.1"]
    leases = [limit.begin(host) for host in clients]
    with caplog.at_level(logging.INFO):
        limit.report()
        assert not caplog.messages
        for host in ("2600:1:2:3:ffff::2", *clients):
            limit.refuses(host)
        limit.report()
        line = "network=2600:1:2:3::/64 count=2 further_networks=2 setting=limits.max_connections_per_address"
        assert caplog.messages == [f"connections.refused {line}"]
        for now[0] in (1.0, 59.0):
            limit.refuses("8.8.8.8")
            limit.report()
        assert len(caplog.messages) == 1
        now[0] = 60.0
        limit.report()
        assert "network=8.8.8.0/24 count=2 further_networks=0" in caplog.messages[1]
    assert not any(host in caplog.text for host in clients if "." in host)
    del leases


async def test_connection_that_is_not_handed_over_is_not_counted() -> None:
    """Because its client has left, or because the service ends."""
    limit = AddressLimit(5, lambda: 0.0)
    room = Room((), 10, PendingConnections(10, asyncio.get_running_loop().time))

    def broken(_lease: object) -> asyncio.Protocol:
        raise ConnectionResetError

    listening = Listening([], broken, room, limit)
    try:
        with socket.socket() as never_connected:
            lease = limit.begin("8.8.8.8")
            await listening._hand_over(never_connected, lease)
            assert not limit._counts
    finally:
        listening.close()


# ---- A real service, and clients with public addresses, in a machine of their own

CLIENT = """
import socket, sys
port, first, others = int(sys.argv[1]), sys.argv[2], sys.argv[3:]

def is_served(source):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(20)
    client.bind((source, 0))
    client.connect((first, port))
    try:
        client.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        answer = client.recv(12)
    except ConnectionError:
        answer = b""
    if answer == b"HTTP/1.1 200":
        held.append(client)
        return True
    client.close()
    return False

for source in (first, *others):
    held = []
    print(*(is_served(source) for _ in range(5)))
    held.pop().close()  # makes room, once the service has noticed
    print(any(is_served(source) for _ in range(1000)))
    for client in held:
        client.close()
"""


@pytest.mark.quiet
@pytest.mark.needs("ip")
@pytest.mark.promise("input:clear-error")
async def test_public_address_has_its_connections_and_no_more(tmp_path: Path) -> None:
    settings = environment(
        {
            "SERVER__HOST": "0.0.0.0",
            "AUTH__ALLOW_ANONYMOUS": "true",
            "LIMITS__MAX_CONNECTIONS_PER_ADDRESS": "3",
        },
        {},
    )
    running_on = r"running on http://0\.0\.0\.0:(\d+)"
    with namespace() as machine:
        for address in ("11.22.33.44", "11.22.33.45"):
            require(f"-n {machine.name} addr add {address}/32 dev lo")
        command = [*machine.enter, *serve_command()]
        async with started(command, tmp_path, settings, running_on=running_on) as service:
            arguments = [str(service.port), "11.22.33.44", "11.22.33.45", "127.0.0.1"]
            with anyio.fail_after(60):
                done = await anyio.run_process(
                    [*machine.enter, sys.executable, "-c", CLIENT, *arguments]
                )
            full, free = "True True True False False", "True True True True True"
            rows = [full, "True", full, "True", free, "True"]
            assert done.stdout.decode().splitlines() == rows
            line = r"connections.refused network=11\.22\.33\.0/24 count=\d+ .*max_connections_per_address"
            await service.logged(line)
            assert "11.22.33.44" not in service.output
