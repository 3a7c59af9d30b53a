"""The directory in Redis passes the conformance suite on every server that is supported."""

from functools import partial

import anyio
import pytest
from directory_conformance import CONTRACT, Check, Subject

from streamsvc.engine.directory import base
from support.redis_servers import RedisServer
from support.redis_workers import Worker, worker


async def age(one: Worker, server: RedisServer, prefix: str, seconds: float) -> None:
    """Let time pass for everything with a time to live, without waiting."""
    while [*one.directory._chats._sent]:  # noqa: ASYNC110  # nothing tells when it is stored
        await anyio.sleep(0.001)
    for key in server.command("KEYS", f"{prefix}:*"):
        left = server.command("PTTL", key) - int(seconds * 1000)
        server.command("PEXPIRE", key, max(left, 0))


def drop(one: Worker, server: RedisServer, generation: str) -> None:
    keys = one.store.keys
    server.command("DEL", keys.meta(generation), keys.log(generation))


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_the_directory_in_redis_conforms(
    check: Check, redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "STOP_SECONDS", 0.1)
    async with worker(redis_server.url, key_prefix) as one:
        subject = Subject(
            one.directory,
            one.log,
            drop=partial(drop, one, redis_server),
            sleep=partial(age, one, redis_server, key_prefix),
            unit=0.02,
            is_shared=True,
        )
        with anyio.fail_after(20):
            await check(subject)
