"""Network namespaces: machines of their own that a test can cut off. They need Linux and the right to make them.

The link between the test's machine and such a namespace has two networks: `front` for clients, `back` for Redis.

with namespace() as machine:
    with running_redis(host=machine.back.here) as server: ...
    await anyio.open_process([*machine.enter, sys.executable, "-m", "streamsvc", "serve"])
    machine.cut_back()
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import count

from support.parts import find, missing

NETWORKS = IPv4Address("10.128.0.0")
"""Where the networks of all namespaces lie; each takes 8 addresses, chosen by process and number."""

NOBODY = "02:00:00:00:00:01"
"""The hardware address of no machine."""

_numbers = count()


@dataclass(frozen=True)
class Network:
    """A network with two machines; both attributes are addresses."""

    here: str
    there: str


@dataclass(frozen=True)
class Namespace:
    """A network namespace, linked to the test's own.

    Attributes:
        name: its name, and that of its end of the link.
        front: the network for clients.
        back: the network for Redis.
    """

    name: str
    front: Network
    back: Network

    @property
    def enter(self) -> list[str]:
        """The command that runs the command after it inside."""
        return [find("ip"), "netns", "exec", self.name]

    def unplug(self) -> None:
        """Take its end of the link down: no byte passes, and no end is told."""
        require(f"-n {self.name} link set {self.name} down")

    def cut_back(self) -> None:
        """Lose every packet of the network `back`; connections stay open in silence, new ones get no answer."""
        self._neighbours("replace", f"lladdr {NOBODY} nud permanent")

    def heal_back(self) -> None:
        """Let the packets pass again."""
        self._neighbours("del", "")

    def _neighbours(self, verb: str, how: str) -> None:
        require(f"-n {self.name} neigh {verb} {self.back.here} dev {self.name} {how}")
        require(f"neigh {verb} {self.back.there} dev {self.name}h {how}")


def ip(arguments: str) -> bool:
    """Run a command of iproute2; return whether it succeeded."""
    done = subprocess.run([find("ip"), *arguments.split()], capture_output=True, check=False)
    return done.returncode == 0


def require(arguments: str) -> None:
    """Run a command of iproute2 that has to succeed."""
    assert ip(arguments), f"ip {arguments}"


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a network namespace, and remove it; skip the test where that is not allowed."""
    number = next(_numbers)
    name = f"svc{os.getpid()}x{number}"
    if not ip(f"netns add {name}"):
        missing("The right to make a network namespace is missing")
    first = NETWORKS + (os.getpid() * 64 + number) % 2**19 * 8
    front = Network(str(first + 1), str(first + 2))
    back = Network(str(first + 5), str(first + 6))
    try:
        require(f"link add {name}h type veth peer name {name} netns {name}")
        for network in (front, back):
            require(f"addr add {network.here}/30 dev {name}h")
            require(f"-n {name} addr add {network.there}/30 dev {name}")
        require(f"link set {name}h up")
        require(f"-n {name} link set {name} up")
        require(f"-n {name} link set lo up")
        yield Namespace(name, front, back)
    finally:
        ip(f"link del {name}h")
        ip(f"netns del {name}")
