"""The calls of the limiter in Redis: admissions, their ends and the renewal of leases, many in one call.

One task makes the calls, one after the other, so that they never overtake each other. Whatever is asked while a call is
under way shares the next one. Ends are part of it, before what is asked, so that a request gets what an earlier answer
of this process has freed. While nothing is asked, ends wait a moment for each other.
"""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import anyio
import msgspec

from streamsvc.errors import StoreUnavailable
from streamsvc.eventloop import now
from streamsvc.guard.limits.base import Charges
from streamsvc.store import scripts
from streamsvc.store.client import Store
from streamsvc.store.health import Trouble
from streamsvc.store.scripts import Script

BEATS_A_LEASE = 4
"""How often leases are prolonged while they last."""

CALL_ADMISSIONS = 200
"""The most admissions that one call makes, and the most that it ends or prolongs."""

ADMISSION_TTL_MS = 600_000
"""How long an admission is remembered without a beat: it survives a long outage of one process."""

END_SECONDS = 0.005
"""How long an end waits for a call that carries it, before it gets one without anything that is asked. The client of an
answer may ask another process next, which must find the lease free."""

RETRY_SECONDS = 0.5
"""The pause after a failure."""

FINISH_SECONDS = 2.0
"""The most time for ending admissions when the process ends."""

UNKNOWN, CANCELLED = -1, -2
"""Instead of the tokens of an answer: they stay as charged; it never began."""

_KEYS_EACH = 3


class Verdict(NamedTuple):
    """What the store says to an admission.

    Attributes:
        refuses: the number of the limit that refuses it, see `base.refusal`; -1: it is admitted.
        wait_us: when it would be admitted, in microseconds; 0: unknown.
    """

    refuses: int
    wait_us: int


class _Asked:
    """An admission that is asked for.

    Attributes:
        keys: as of `Calls.admit`.
        terms: an argument of the script.
    """

    __slots__ = ("_decided", "_verdict", "keys", "terms")

    def __init__(self, name: str, keys: bytes, leases: int, charges: Charges) -> None:
        self.keys = keys
        self.terms = name, leases, charges
        self._verdict: Verdict | Trouble = Trouble.SILENT
        self._decided = anyio.Event()

    def decide(self, verdict: Verdict | Trouble) -> None:
        """Wake the request with the store's verdict, or with why there is none."""
        self._verdict = verdict
        self._decided.set()

    async def decision(self) -> Verdict:
        """Wait for the verdict.

        Raises:
            StoreUnavailable: there is none.
        """
        await self._decided.wait()
        if isinstance(self._verdict, Trouble):
            raise StoreUnavailable(str(self._verdict))
        return self._verdict


class Calls:
    """Admits, and holds and ends what was admitted.

    Keys are those of one admission, each packed by `packed` (`store/leases.py`): its own, and its principal's leases
    and buckets.

    Args:
        store: counts.
        in_all: the key of the buckets of all principals together, packed.
        lease_seconds: how long an admission's lease lasts without being prolonged.
    """

    def __init__(self, store: Store, in_all: bytes, lease_seconds: float) -> None:
        self._store = store
        self._connection = store.kept_connection()
        self._in_all = in_all
        self._times = b"%d" % int(lease_seconds * 1000), b"%d" % ADMISSION_TTL_MS
        self._beat_seconds = lease_seconds / BEATS_A_LEASE
        self._asked: dict[str, _Asked] = {}
        self._held: dict[str, bytes] = {}
        self._ended: dict[str, tuple[bytes, int]] = {}
        self._beat_at = self._end_at = 0.0
        self._changed, self._tried = anyio.Event(), anyio.Event()
        self._is_over = False

    async def admit(self, name: str, keys: bytes, leases: int, charges: Charges) -> Verdict:
        """Ask for an admission, and hold it if it is granted.

        Args:
            name: its name.
            keys: its keys.
            leases: how many its principal may have at once; 0: it needs none.
            charges: what it is charged.

        Raises:
            StoreUnavailable: the store cannot be used. As with a cancellation, nothing stays admitted.
        """
        if self._is_over:
            raise StoreUnavailable(str(Trouble.SILENT))
        asked = self._asked[name] = _Asked(name, keys, leases, charges)
        self._changed.set()
        try:
            verdict = await asked.decision()
        except BaseException:
            if self._asked.pop(name, None) is None:  # it was sent, and may have been admitted
                self._note_end(name, keys, CANCELLED)
            raise
        if verdict.refuses < 0:
            self.hold(name, keys)
        return verdict

    def hold(self, name: str, keys: bytes, *, is_lapsing: bool = False) -> None:
        """Prolong the lease of an admission from now on; at once, if it is about to lapse."""
        if is_lapsing or not self._held:
            self._beat_at = 0.0 if is_lapsing else now() + self._beat_seconds
            self._changed.set()
        self._held[name] = keys

    def let_go(self, name: str) -> bool:
        """Leave an admission to another process; return whether it was held."""
        return self._held.pop(name, None) is not None

    def end(self, name: str, tokens: int) -> bool:
        """End an admission soon; return whether it was held.

        Args:
            name: its name.
            tokens: what it has used, or `UNKNOWN` or `CANCELLED`.
        """
        keys = self._held.pop(name, None)
        if keys is None:
            return False
        self._note_end(name, keys, tokens)
        return True

    def _note_end(self, name: str, keys: bytes, tokens: int) -> None:
        if not self._ended:
            self._end_at = now() + END_SECONDS
            self._changed.set()
        self._ended[name] = keys, tokens

    async def run(self) -> None:
        """Make the calls; runs until it is cancelled."""
        try:
            while True:
                await self._wait()
                try:
                    await self._make_calls()
                except StoreUnavailable:
                    self._fail(self._asked)
                    await self._store.health.wait_usable()
                    self._beat_at = self._end_at = now() + RETRY_SECONDS
        finally:
            self._is_over = True
            self._fail(self._asked)

    async def finish(self) -> None:
        """Wait until everything is ended, for a limited time, or until the store cannot be used."""
        with anyio.move_on_after(FINISH_SECONDS, shield=True):
            while self._ended and self._store.health.trouble is None and not self._is_over:
                self._end_at = 0.0
                self._changed.set()
                await self._tried.wait()

    async def _wait(self) -> None:
        while not self._asked and (at := self._next_at()) > now():
            self._changed = anyio.Event()
            with anyio.CancelScope(deadline=at):
                await self._changed.wait()

    def _next_at(self) -> float:
        """Return when a call must be made even if nothing is asked."""
        beat_at = self._beat_at if self._held else math.inf
        return min(beat_at, self._end_at) if self._ended else beat_at

    async def _make_calls(self) -> None:
        try:
            if self._asked or (self._ended and self._end_at <= now()):
                await self._admit_and_end()
            if self._held and self._beat_at <= now():
                self._beat_at = now() + self._beat_seconds
                await self._prolong()
        finally:
            self._tried.set()
            self._tried = anyio.Event()

    async def _admit_and_end(self) -> None:
        ended = list(islice(self._ended.items(), CALL_ADMISSIONS))
        # What is asked follows all ends, so that none of them refuses it.
        most = CALL_ADMISSIONS if len(ended) == len(self._ended) else 0
        asked = {name: self._asked.pop(name) for name in list(islice(self._asked, most))}
        keys = [
            self._in_all,
            *(keys for _, (keys, _) in ended),
            *(it.keys for it in asked.values()),
        ]
        ends = [(name, tokens) for name, (_, tokens) in ended]
        what = msgspec.msgpack.encode((ends, [it.terms for it in asked.values()]))
        try:
            count = 1 + _KEYS_EACH * (len(keys) - 1)
            reply = await self._run(scripts.ADMISSION, keys, (*self._times, what), count)
            verdicts = list(map(Verdict, reply[::2], reply[1::2]))
            for one, verdict in zip(asked.values(), verdicts, strict=True):
                one.decide(verdict)
        except BaseException:
            self._fail(asked)
            raise
        for name, _ in ended:
            del self._ended[name]
        if most:
            self._end_at = now() + END_SECONDS  # of what has ended meanwhile

    def _fail(self, asked: dict[str, _Asked]) -> None:
        """Let nobody wait for a verdict that may never come."""
        for one in asked.values():
            one.decide(self._store.health.trouble or Trouble.SILENT)
        asked.clear()

    async def _prolong(self) -> None:
        names = list(self._held)
        for at in range(0, len(names), CALL_ADMISSIONS):
            await self._prolong_some(names[at : at + CALL_ADMISSIONS])

    async def _prolong_some(self, names: Sequence[str]) -> None:
        some = {name: keys for name in names if (keys := self._held.get(name)) is not None}
        arguments = (*self._times, *(name.encode() for name in some))
        count = _KEYS_EACH * len(some)
        reply = await self._run(scripts.PROLONG, list(some.values()), arguments, count)
        for name, is_known in zip(some, reply, strict=True):
            if not is_known:  # it had no limits when it began, or the store was flushed
                self._held.pop(name, None)

    async def _run(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], count: int
    ) -> Any:
        """Run a script on packed keys; *count* of them in all."""
        return await self._store.run_packed(
            script, keys, arguments, count=count, kept=self._connection
        )
