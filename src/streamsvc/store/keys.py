"""Which keys there are, and in which partition.

All keys of a generation have the same hash tag, `{0}` to `{63}`, so that one script may change them in a cluster
too, and one call may change many generations. The first two characters of an id name its partition; a worker
makes all its ids in one partition, its home. (With the id itself as the tag, no call could serve two generations.)
"""

import base64
import hashlib
import os

PARTITIONS = 64

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
_SHARE = len(_CHARACTERS) ** 2 // PARTITIONS
_NAME_BYTES = 10
_LIMITS = 0  # one partition for all principals: a generation is charged to its own and to all of them in one step


def partition_mark(partition: int) -> str:
    """Return two characters that begin the random part of an id in a partition; see `partition_of`."""
    number = partition * _SHARE + os.urandom(1)[0] % _SHARE
    return _CHARACTERS[number // 32] + _CHARACTERS[number % 32]


def partition_of(generation: str) -> int:
    """Return the partition of a generation; any string has one."""
    _, _, random = generation.partition("_")
    first, second = (f"{random}aa"[at] for at in (0, 1))
    return (_CHARACTERS.find(first) % 32 * 32 + _CHARACTERS.find(second) % 32) // _SHARE


def new_worker_name() -> str:
    """Return a new name for this process, which begins with its home partition."""
    random = base64.b32encode(os.urandom(_NAME_BYTES)).decode().lower()
    return f"{os.urandom(1)[0] % PARTITIONS}-{random}"


def home_of(worker: str) -> int:
    """Return the home partition of a worker."""
    return int(worker.partition("-")[0])


class Keys:
    """Makes the names of keys.

    Args:
        prefix: begins every key.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def _in(self, partition: int, kind: str, name: str) -> bytes:
        return f"{self._prefix}:{{{partition}}}:{kind}:{name}".encode()

    def meta(self, generation: str) -> bytes:
        """A hash: who runs a generation, until when, and how far it is; see `lua/append.lua`."""
        return self._in(partition_of(generation), "meta", generation)

    def log(self, generation: str) -> bytes:
        """A stream: the records of a generation; the id of record n is `n-0`, that of record 0 is `0-1`."""
        return self._in(partition_of(generation), "log", generation)

    def request(self, generation: str) -> bytes:
        """A string: what is generated, while it is."""
        return self._in(partition_of(generation), "request", generation)

    def viewers(self, generation: str) -> bytes:
        """A hash: for each worker that has viewers of a generation and does not run it, until when that counts."""
        return self._in(partition_of(generation), "viewers", generation)

    def control(self, worker: str) -> bytes:
        """A stream: messages to a worker about the generations it runs."""
        return self._in(home_of(worker), "control", worker)

    def wake(self, partition: int, worker: str) -> bytes:
        """A stream that ends a worker's blocking read of a partition when something is added."""
        return self._in(partition, "wake", worker)

    def probe(self, worker: str) -> bytes:
        """A string that a worker writes to learn whether it can."""
        return self._in(home_of(worker), "probe", worker)

    def demo_workers(self) -> bytes:
        """A hash: which process each worker of a demo is."""
        return self._in(0, "demo", "workers")

    def demo_kills(self) -> bytes:
        """A stream: the generations whose producers must die, in a demo."""
        return self._in(0, "demo", "kills")

    def idempotency(self, key: str) -> bytes:
        """A string: what a client's idempotency key stands for."""
        return self._hashed("key", key)

    def lock(self, key: str) -> bytes:
        """A string: which request holds an idempotency key."""
        return self._hashed("lock", key)

    def chat(self, chat: str) -> bytes:
        """A hash: the latest answer of a chat."""
        return self._hashed("chat", chat)

    def ticket(self, ticket: str) -> bytes:
        """A hash: what a ticket opens, by the hash of its text; see `lua/spend.lua`."""
        return self._hashed("ticket", ticket)

    def admission(self, name: str) -> bytes:
        """A value: what a generation or a viewer is charged while it is admitted; see `lua/admission.lua`."""
        return self._in(_LIMITS, "admission", name)

    def usage(self, principal: str) -> bytes:
        """A hash: the buckets of a principal."""
        return self._in(_LIMITS, "usage", _digest(principal))

    def usage_in_all(self) -> bytes:
        """A hash: the buckets of all principals together."""
        return self._in(_LIMITS, "usage", "all")

    def generations(self, principal: str) -> bytes:
        """A sorted set: the generations that a principal runs, by the ends of their leases in ms since 1970."""
        return self._in(_LIMITS, "generations", _digest(principal))

    def seats(self, principal: str) -> bytes:
        """A sorted set: the viewers that a principal has connected, by the ends of their leases."""
        return self._in(_LIMITS, "seats", _digest(principal))

    def _hashed(self, kind: str, name: str) -> bytes:
        digest = _digest(name)
        return self._in(int(digest[:2], 16) % PARTITIONS, kind, digest)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
