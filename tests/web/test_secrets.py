"""No log has a prompt, and no answer has the text of an exception."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from typing_extensions import override

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings, ProviderSettings
from streamsvc.config.settings import Settings
from streamsvc.engine.ids import new_id
from streamsvc.events import Delta
from streamsvc.messages import Prompt
from streamsvc.providers.base import Finish, Provider
from support.asking import fetch
from support.eventstream import wire
from support.native import CREATE, until
from support.problems import BOUNDED, HURRIED, LIMITS, assert_is_problem

SECRET = "xyzzy-plugh"


class CrashingProvider(Provider):
    """A provider with a bug; the text of its exception has the prompt."""

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        raise RuntimeError(repr(prompt))


@pytest.mark.promise("secret:kept")
async def test_no_log_has_a_prompt_however_the_request_ends(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """At every level of every logger of the process; this client logs nothing itself."""
    caplog.set_level(logging.DEBUG)
    hasty = FakeSettings(first_word_seconds=60, first_token_seconds=0.01)
    providers: dict[str, ProviderSettings]
    providers = {"fake": HURRIED, "failing": hasty, "crashing": HURRIED}
    service = await serve(Settings(providers=providers, limits=LIMITS))
    service.supervisor.entries._providers.client("crashing").use(CrashingProvider())
    asked = [
        ("GET", f"/stream-ai?prompt={SECRET}", None),
        ("GET", f"/stream-ai?prompt={SECRET}&provider=failing", None),
        ("GET", f"/stream-ai?prompt={SECRET}&provider=crashing", None),
        ("GET", f"/stream-ai?prompt={SECRET}&provider={SECRET}", None),
        ("GET", f"/stream-ai?prompt={SECRET * 100}", None),
        ("GET", f"/stream-ai?{SECRET}={SECRET}", None),
        ("GET", f"/stream-ai/{SECRET}%20{SECRET}", None),
        ("GET", f"/none?{SECRET}", None),
        *(("POST", CREATE, json.dumps(body).encode()) for body in secret_bodies()),
        ("POST", CREATE, b'{"prompt": "' + SECRET.encode()),
        ("POST", CREATE, SECRET.encode() * 10_000),
    ]
    with anyio.fail_after(10):
        for method, target, body in asked:
            async with wire(service.port) as connection:
                headers = {"Accept": "text/event-stream"}
                await (await connection.ask(method, target, headers, body)).body()
        async with wire(service.port) as connection:
            await connection.ask("GET", f"/stream-ai?prompt={SECRET}&provider=failing")
            connection.reset()
        await until(lambda: not service.supervisor.running)
    finished = [line for line in caplog.messages if line.startswith("generation.finished")]
    assert {line.partition("outcome=")[2].split()[0] for line in finished} >= {
        *("completed", "first_token_timeout", "internal_error")
    }
    assert SECRET not in caplog.text
    assert [record for record in caplog.records if record.exc_info] == []


def secret_bodies() -> Iterator[dict[str, object]]:
    yield {"prompt": SECRET}
    yield {"prompt": SECRET, "provider": "failing"}
    yield {"prompt": SECRET, "provider": "crashing"}
    yield {"prompt": SECRET, SECRET: SECRET}
    yield {"messages": [{"role": SECRET, "content": SECRET}]}
    yield {"messages": [{"role": "user", "content": SECRET}], "metadata": SECRET}


@pytest.mark.promise("secret:kept")
async def test_bug_in_the_log_gives_a_500_without_details(serve: Serve) -> None:
    service = await serve(BOUNDED)
    broken: Any = service.log._streams
    name = new_id()
    broken[name] = "not a log"
    answer = await fetch(service.port, f"{CREATE}/{name}")
    assert_is_problem(answer, 500, None)
    assert json.loads(bytes(answer.raw))["code"] == "internal_error"
    assert b"log" not in answer.raw
    assert (await service.client.get("/healthz")).is_success


@pytest.mark.promise("secret:kept")
async def test_exception_text_reaches_neither_client_nor_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator learns its type and place, the client that something went wrong."""
    service = await serve(BOUNDED)

    async def crash(*_: object, **__: object) -> str:
        raise LookupError(SECRET)

    monkeypatch.setattr(service.supervisor, "create", crash)
    answer = await fetch(service.port, f"/stream-ai?prompt={SECRET}")
    assert_is_problem(answer, 500, None)
    assert json.loads(bytes(answer.raw))["code"] == "internal_error"
    assert SECRET.encode() not in answer.raw
    ours = "\n".join(record.getMessage() + (record.exc_text or "") for record in caplog.records)
    assert "request.crashed exception=LookupError at=test_secrets.py" in ours
    assert SECRET not in ours
