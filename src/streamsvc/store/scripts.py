"""The scripts: what changes more than one thing in one step, as files in `lua/`."""

import hashlib
from enum import Enum
from importlib import resources

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script.

    Attributes:
        source: Lua; each file begins with its keys, arguments and reply.
        sha: its name in Redis.
    """

    source: bytes
    sha: str


def _load(name: str) -> Script:
    source = (resources.files("streamsvc.store") / "lua" / f"{name}.lua").read_bytes()
    return Script(source, hashlib.sha1(source).hexdigest())  # noqa: S324  # Redis's own choice


ADMISSION = _load("admission")
APPEND = _load("append")
BEAT = _load("beat")
CHAT = _load("chat")
CLAIM = _load("claim")
HOLD = _load("hold")
LOOK = _load("look")
MINT = _load("mint")
NOTIFY = _load("notify")
PROBE = _load("probe")
PROLONG = _load("prolong")
READ = _load("read")
RELEASE = _load("release")
SETTLE = _load("settle")
SPEND = _load("spend")
STOP = _load("stop")
TAKE = _load("take")
TIDY = _load("tidy")
WATCH = _load("watch")


class Appended(Enum):
    """What `APPEND` answers for a generation."""

    OK = 0
    FENCED = 1  # another process owns it
    GAP = 2  # records before the first one are missing
    GONE = 3  # it is not kept, and the first record is not the first of the log
    CLOSED = 4


class Renewed(Enum):
    """What `BEAT` answers for a generation."""

    KEPT = 0
    FENCED = 1  # another process owns it
    GONE = 2  # it is not kept, or not stored yet
    CLOSED = 3


class Watched(Enum):
    """What `WATCH` answers for a generation."""

    MISSING = 0  # it is not kept, or not stored yet
    RUNS = 1
    CLOSED = 2
