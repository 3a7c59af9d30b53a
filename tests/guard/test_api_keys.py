"""API keys: who they belong to, and what happens when their file changes."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from streamsvc.config.guard_settings import PrincipalLimits
from streamsvc.config.settings import Settings
from streamsvc.errors import ConfigError, Unauthorized
from streamsvc.guard.keys import KeyAuthenticator, new_key
from support.api_keys import KeysFile, credential_of, guarded, hurried_reads, id_of, keys_file
from support.log_lines import logged
from support.owned import own_tasks

BOUND_SECONDS = 10
"""Of waits for a change of the file to be seen, on a busy machine."""


keys = keys_file()
hurry = hurried_reads()


class Revoked:
    """The credentials that an authenticator has reported, and a way to wait for one more."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._news = anyio.Event()

    def __call__(self, credential: str) -> None:
        self.ids.append(credential)
        self._news.set()

    async def wait(self) -> list[str]:
        with anyio.fail_after(BOUND_SECONDS):
            await self._news.wait()
        self._news = anyio.Event()
        return self.ids


@asynccontextmanager
async def running(
    keys: KeysFile, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AsyncIterator[tuple[KeyAuthenticator, Revoked]]:
    authenticator = KeyAuthenticator(guarded(Settings(), keys), now)
    revoked = Revoked()
    authenticator.on_revoked(revoked)
    async with own_tasks() as tasks:
        tasks.start_soon(authenticator.run)
        yield authenticator, revoked
        tasks.cancel_scope.cancel()


async def is_known(authenticator: KeyAuthenticator, key: str) -> bool:
    try:
        await authenticator.principal(key)
    except Unauthorized:
        return False
    return True


@pytest.mark.promise("door:closed")
async def test_key_names_its_principal_and_limits(keys: KeysFile) -> None:
    key, other = keys.add("team-a"), keys.add("__proto__")
    keys.overwrite(
        keys.text.replace(
            "[principals.team-a]\n",
            '[principals.team-a]\nmax_viewers = 0\nproviders = ["fake"]\nmodels = ["m"]\n',
        )
    )
    usual = PrincipalLimits(max_viewers=7, requests_per_minute=9)
    authenticator = KeyAuthenticator(guarded(Settings(principal_limits=usual), keys))
    principal = await authenticator.principal(key)
    assert (principal.name, principal.credential) == ("team-a", credential_of(key))
    assert principal.limits == PrincipalLimits(max_viewers=0, requests_per_minute=9)
    assert (principal.providers, principal.models) == (frozenset({"fake"}), frozenset({"m"}))
    principal = await authenticator.principal(other)
    assert (principal.name, principal.limits) == ("__proto__", usual)
    assert (principal.providers, principal.models) == (None, None)


@pytest.mark.promise("door:closed")
async def test_what_is_not_exactly_a_known_key_is_refused(keys: KeysFile) -> None:
    key = keys.add("a")
    authenticator = KeyAuthenticator(guarded(Settings(), keys))
    wrong = [new_key()[0], key[:-1], f"{key}a", key.upper(), f" {key}", f"{key}\n", "", "ssk_"]
    wrong += [key.replace("ssk_", "sk_"), id_of(key), "\udcff", "a" * 100_000, f"{key[:-1]}ü"]
    for text in wrong:
        with pytest.raises(Unauthorized) as caught:
            await authenticator.principal(text)
        assert caught.value.message == "The API key or token is not valid."


async def test_hash_of_a_weak_key_is_useless(keys: KeysFile) -> None:
    """Such a hash could be inverted, and a token would be tried as a key."""
    keys.add("a")
    weak = "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
    keys.overwrite(keys.text.replace(keys.text.partition('hash = "')[2].partition('"')[0], weak))
    authenticator = KeyAuthenticator(guarded(Settings(), keys))
    assert not await is_known(authenticator, "password")


@pytest.mark.promise("door:closed")
async def test_two_keys_of_a_principal_are_valid_until_one_is_revoked(keys: KeysFile) -> None:
    old, new = keys.add("a"), keys.add("a")
    async with running(keys) as (authenticator, revoked):
        before = await authenticator.principal(old)
        assert before.name == (await authenticator.principal(new)).name
        assert not authenticator.is_revoked(before)
        keys.revoke(old)
        assert await revoked.wait() == [credential_of(old)]
        assert not await is_known(authenticator, old)
        assert await is_known(authenticator, new)
        assert authenticator.is_revoked(before)


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("way", ["replaced", "overwritten", "linked"])
async def test_file_is_read_again_however_it_changes(keys: KeysFile, way: str) -> None:
    """Kubernetes changes a link to the directory of the file."""
    old = keys.add("a")
    other = KeysFile(keys.path.with_name("other.toml"))
    new = other.add("b")
    if way == "linked":
        real = keys.path.rename(keys.path.with_name("real.toml"))
        keys.path.symlink_to(real)
    async with running(keys) as (authenticator, revoked):
        if way == "overwritten":
            keys.overwrite(other.text)
        elif way == "replaced":
            keys.replace(other.text)
        else:
            link = keys.path.with_name("link")
            link.symlink_to(other.path)
            link.replace(keys.path)
        assert await revoked.wait() == [credential_of(old)]
        assert (await authenticator.principal(new)).name == "b"


@pytest.mark.promise("door:closed")
@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "principals: found nothing"),
        ("[principals.a]\n[[principals.a.keys]]\nid = 'x", "text that is not TOML"),
        (f"[principals{'.a' * 5000}]", "text that is not TOML"),
        (None, "no readable file"),
    ],
)
async def test_unusable_file_changes_nothing_and_is_one_line(
    keys: KeysFile, text: str | None, found: str
) -> None:
    """An editor may empty a file before it writes it."""
    key = keys.add("a")
    before = keys.text
    with logged() as log, anyio.fail_after(BOUND_SECONDS):
        async with running(keys) as (authenticator, revoked):
            if text is None:
                keys.path.unlink()
            else:
                keys.overwrite(text)
            await log.wait("keys.refused")
            assert await is_known(authenticator, key)
            keys.replace(before)
            await log.wait("keys.loaded", count=2)
            assert revoked.ids == []
    (line,) = (line for line in log.lines if "refused" in line)
    assert found in line
    assert str(keys.path) in line
    assert key not in "".join(log.lines)


async def test_file_that_is_being_written_is_read_when_it_is_done(
    keys: KeysFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks at it, the editor that has emptied it writes it."""
    key = keys.add("a")
    before = keys.text
    looks = iter([(1,), (2,)])  # at the start, and when it is empty

    def signature(_path: Path) -> tuple[int, ...]:
        look = next(looks, (3,))
        if look == (2,):
            keys.overwrite("")
        elif look == (3,):
            keys.overwrite(before)
        return look

    monkeypatch.setattr("streamsvc.filewatch._signature", signature)
    with logged() as log, anyio.fail_after(BOUND_SECONDS):
        async with running(keys) as (authenticator, revoked):
            await log.wait("keys.loaded", count=2)
            assert await is_known(authenticator, key)
    assert revoked.ids == []
    assert not any("refused" in line for line in log.lines)


@pytest.mark.promise("door:closed")
async def test_key_stops_at_its_expiry(keys: KeysFile) -> None:
    """The clock of the test, not a wait, passes the moment."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    elapsed = timedelta()
    key = keys.add("a", expires=start + timedelta(days=1))
    keys.add("a")
    async with running(keys, lambda: start + elapsed) as (authenticator, revoked):
        principal = await authenticator.principal(key)
        await anyio.lowlevel.checkpoint()
        elapsed = timedelta(days=1)
        assert not await is_known(authenticator, key)
        assert authenticator.is_revoked(principal)
        assert await revoked.wait() == [credential_of(key)]


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("change", ["owner", "hash", "expiry"])
async def test_key_that_is_given_away_or_ended_in_place_is_revoked(
    keys: KeysFile, change: str
) -> None:
    key = keys.add("a")
    text = keys.text
    if change == "owner":
        changed = text.replace("principals.a", "principals.b")
    elif change == "hash":
        digit = text.partition("sha256:")[2][0]
        changed = text.replace(f"sha256:{digit}", f"sha256:{'0' if digit != '0' else '1'}")
    else:
        changed = f"{text}expires = 2020-01-01T00:00:00Z\n"
    async with running(keys) as (authenticator, revoked):
        principal = await authenticator.principal(key)
        keys.replace(changed)
        assert await revoked.wait() == [credential_of(key)]
        if change != "hash":
            assert authenticator.is_revoked(principal)


async def test_file_that_everybody_may_read_is_a_warning(keys: KeysFile) -> None:
    keys.add("a")
    for mode, warnings in ((0o640, 0), (0o644, 1)):
        keys.path.chmod(mode)
        with logged() as log, anyio.fail_after(BOUND_SECONDS):
            async with running(keys):
                await log.wait("keys.loaded")
            assert len(await log.wait("keys.readable_by_others", count=warnings)) == warnings


@pytest.mark.promise("input:clear-error")
async def test_unusable_file_at_the_start_is_a_mistake(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, found in (
        ("missing", "no readable file (No such file or directory); accepted: a TOML file; `streamsvc key new NAME` makes one"),
        ("pipe", "something that is not a file; accepted: a TOML file"),
        (".", "something that is not a file; accepted: a TOML file"),
    ):  # fmt: skip
        path = tmp_path / name
        with pytest.raises(ConfigError) as caught:
            KeyAuthenticator(guarded(Settings(), KeysFile(path)))
        assert str(caught.value) == f"{path}: found {found}"
