"""API keys, from a file that is read again when it changes.

A key is `ssk_<id>_<secret>` with 160 random bits in its secret. Nobody can guess one, and a table of the hashes of all
keys is beyond everybody's means, so one SHA-256 without salt is enough: what passwords need is slow on purpose, and
would let anybody who sends wrong keys keep the service busy.
"""

import base64
import hashlib
import hmac
import logging
import os
import re
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from typing_extensions import override

from streamsvc.config.guard_settings import KEY_PREFIX, PrincipalLimits
from streamsvc.config.keys_file import KnownPrincipal, read_keys
from streamsvc.config.settings import Settings
from streamsvc.errors import ConfigError, Unauthorized
from streamsvc.filewatch import FileWatch
from streamsvc.guard.authentication import Authenticator
from streamsvc.log_line import log
from streamsvc.principals import Principal

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

_ID_BYTES, _SECRET_BYTES = 5, 20
_KEY = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9-]{{1,64}}_[a-z2-7]{{32}}")


def new_key() -> tuple[str, str]:
    """Return a new key and its id."""
    key_id, secret = (
        base64.b32encode(os.urandom(size)).decode().lower() for size in (_ID_BYTES, _SECRET_BYTES)
    )
    return f"{KEY_PREFIX}{key_id}_{secret}", key_id


def hash_of(key: str) -> str:
    """Return the hash of a key, as the keys file has it."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


class _Key(msgspec.Struct, frozen=True):
    """A known key.

    Attributes:
        hash: of the whole key.
        principal: whose it is.
        expires: when it stops being valid.
    """

    hash: str
    principal: Principal
    expires: datetime


class KeyAuthenticator(Authenticator):
    """Knows the principals by their API keys.

    Reading the file blocks, so that an invalid one ends the start of the service.

    Args:
        settings: name the file, and have the limits of a principal that its entry does not set.
        now: returns the time.

    Raises:
        ConfigError: a line for each mistake in the file.
    """

    def __init__(
        self, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = Path(settings.auth.keys_file)
        self._limits = settings.principal_limits
        self._providers: Collection[str] = settings.providers.keys()
        self._now = now
        self._calls: list[Callable[[str], None]] = []
        self._watch = FileWatch(self._path)
        self._known = self._read()
        self._keys = _keys_of(self._known, self._limits)
        self._by_hash = {key.hash: key for key in self._keys.values()}

    @override
    async def principal(self, credential: str) -> Principal:
        if _KEY.fullmatch(credential):
            given = hash_of(credential)
            key = self._by_hash.get(given)
            # The comparison takes the same time for each pair of hashes. What the look-up before it shows is about
            # hashes, too, and nobody can choose the hash of a key.
            if key is not None and hmac.compare_digest(key.hash, given) and self._is_valid(key):
                return key.principal
        raise Unauthorized(was_given=True)

    @override
    def is_revoked(self, principal: Principal) -> bool:
        key = self._keys.get(principal.credential)
        return key is None or key.principal.name != principal.name or not self._is_valid(key)

    @override
    def on_revoked(self, call: Callable[[str], None]) -> None:
        self._calls.append(call)

    @override
    async def run(self) -> None:
        _log_open_file(self._path)
        log(logger, logging.INFO, "keys.loaded", file=str(self._path), keys=len(self._keys))
        checked = self._now()
        while True:
            await anyio.sleep(self._seconds_to_look(checked))
            await self._look()
            now = self._now()
            for which, key in self._keys.items():
                if checked < key.expires <= now:
                    self._report(which, "expired")
            checked = now

    def _seconds_to_look(self, since: datetime) -> float:
        """Return how long to wait for the next look at the file, or the next expiry."""
        expiries = (key.expires for key in self._keys.values() if key.expires > since)
        seconds = (min(expiries, default=datetime.max.replace(tzinfo=UTC)) - since).total_seconds()
        return min(self._watch.seconds, seconds)

    async def _look(self) -> None:
        """Read the file if it has changed."""
        if not await _off_loop(self._watch.look):
            return
        try:
            self._known = await _off_loop(self._read)
        except ConfigError as exc:
            mistakes = "; ".join(str(exc).splitlines())
            log(logger, logging.ERROR, "keys.refused", "what was known stays", mistakes=mistakes)
        else:
            self._replace()

    def _read(self) -> Mapping[str, KnownPrincipal]:
        return read_keys(self._path, self._providers)

    @override
    async def prepare(self, settings: Settings) -> Callable[[], None]:
        providers = settings.providers.keys()
        await _off_loop(partial(read_keys, self._path, providers))
        return partial(self._use, settings.principal_limits, providers)

    def _use(self, limits: PrincipalLimits, providers: Collection[str]) -> None:
        """Apply other limits to the principals of the file, as it was last read."""
        self._limits, self._providers = limits, providers
        self._keys = _keys_of(self._known, limits)
        self._by_hash = {key.hash: key for key in self._keys.values()}

    def _replace(self) -> None:
        """Use the keys of the file from now on, and report those that it lacks or has given to somebody else."""
        keys = _keys_of(self._known, self._limits)
        before, self._keys = self._keys, keys
        self._by_hash = {key.hash: key for key in keys.values()}
        log(logger, logging.INFO, "keys.loaded", file=str(self._path), keys=len(keys))
        for which, old in before.items():
            new = keys.get(which)
            if new is None or (new.hash, new.principal.name) != (old.hash, old.principal.name):
                self._report(which, "revoked")
            elif self._is_valid(old) and not self._is_valid(new):
                self._report(which, "expired")

    def _report(self, which: str, why: str) -> None:
        log(logger, logging.INFO, f"key.{why}", credential=which)
        for call in self._calls:
            call(which)

    def _is_valid(self, key: _Key) -> bool:
        return self._now() < key.expires


def _keys_of(
    principals: Mapping[str, KnownPrincipal], limits: PrincipalLimits
) -> Mapping[str, _Key]:
    """Return the keys of all principals, by their `Principal.credential`."""
    keys: dict[str, _Key] = {}
    for name, known in principals.items():
        principal = Principal(
            name=name,
            limits=msgspec.structs.replace(limits, **known.limits),
            providers=frozenset(known.entry.providers) or None,
            models=frozenset(known.entry.models) or None,
        )
        for key in known.keys:
            which = f"key:{key.id}"
            owner = msgspec.structs.replace(principal, credential=which)
            keys[which] = _Key(key.hash, owner, key.expires)
    return keys


def _log_open_file(path: Path) -> None:
    """Warn if every user of this machine may read the file."""
    with suppress(OSError):
        if os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
            log(logger, logging.WARNING, "keys.readable_by_others", "chmod o-r", file=str(path))


async def _off_loop(call: Callable[[], _T]) -> _T:
    """Make a call that blocks in a thread; when it is cancelled, it does not wait for a file server."""
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
