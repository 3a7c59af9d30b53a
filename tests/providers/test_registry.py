"""The registry opens an entry at its first use, and closes all entries when the service ends."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import anyio
import pytest
from typing_extensions import override

from streamsvc.config.provider_settings import (
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    ProviderSettings,
)
from streamsvc.errors import InvalidField, ProviderNotReady
from streamsvc.messages import Prompt, UserMessage
from streamsvc.providers import registry
from streamsvc.providers.base import OpenProvider, Provider
from streamsvc.providers.fake import provider as fake
from streamsvc.providers.gemini import provider as gemini
from streamsvc.providers.openai import provider as openai
from streamsvc.providers.registry import ProviderRegistry, load_adapter
from support.answering import answering
from support.upstreams import OPENAI, finish, text, upstream

ENTRIES: Mapping[str, ProviderSettings] = {
    "fake": FakeSettings(),
    "openai": OpenAISettings(model="gpt", api_key_env="OPENAI_KEY", base_url="http://o.test/v1"),
    "gemini": GeminiSettings(model="gem", api_key_env="GEMINI_KEY", base_url="http://g.test"),
    "local": OpenAISettings(model="llama", base_url="http://l.test/v1"),
}

SERVE_AND_TELL = """
import json, sys
import anyio
import streamsvc.cli, streamsvc.server.run
from streamsvc.app import create_app
from streamsvc.config.provider_settings import FakeSettings, GeminiSettings, OpenAISettings
from streamsvc.config.settings import Settings

quick = FakeSettings(words_per_second=0, first_word_seconds=0)
others = {
    "openai": OpenAISettings(model="m", base_url="http://127.0.0.1:1/v1"),
    "gemini": GeminiSettings(model="m", base_url="http://127.0.0.1:1"),
}
app = create_app(Settings(providers={"fake": quick, **others}), {})
body = b""

async def serve(provider):
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/stream-ai", "raw_path": b"/stream-ai",
        "query_string": b"prompt=hello&provider=" + provider.encode(), "root_path": "",
        "headers": [],
    }

    async def receive():
        await anyio.sleep_forever()

    async def send(message):
        global body
        body += message.get("body", b"")

    await app(scope, receive, send)

async def main():
    async with app.router.lifespan_context(app):
        await serve(sys.argv[1])

anyio.run(main)
print(json.dumps({"body": body.decode(), "modules": sorted(sys.modules)}))
"""


def _serve_and_tell(provider: str) -> tuple[str, set[str]]:
    """Serve one generation in a separate process; return its stream and its imported modules."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVE_AND_TELL, provider],
        check=True, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    report = json.loads(process.stdout)
    return report["body"], set(report["modules"])


def test_fake_provider_imports_no_sdk_and_no_http_client() -> None:
    """A service with fake words imports only what it needs: importing an SDK takes a second."""
    body, modules = _serve_and_tell("fake")
    assert '"status":"completed"' in body
    assert modules.isdisjoint({"openai", "google.genai", "httpx2", "httpx"})


@pytest.mark.parametrize(("used", "unused"), [("openai", "google.genai"), ("gemini", "openai")])
def test_sdk_is_imported_when_its_kind_is_first_used(used: str, unused: str) -> None:
    body, modules = _serve_and_tell(used)
    assert '"code":"provider_unavailable"' in body  # nothing listens there
    assert {"openai": "openai", "gemini": "google.genai"}[used] in modules
    assert unused not in modules


@pytest.mark.promise("provider:swap")
async def test_entry_is_opened_by_its_kind_and_only_once() -> None:
    async with ProviderRegistry(ENTRIES, {}) as providers:
        opened: list[Provider] = []

        async def open_it(name: str) -> None:
            opened.append(await providers.get(name))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(open_it, "local")
        assert len({id(provider) for provider in opened}) == 1
        assert type(opened[0]).__name__ == "OpenAIProvider"
        assert type(await providers.get("fake")).__name__ == "FakeProvider"
        assert await providers.get("local") is opened[0]


async def test_two_entries_of_one_kind_are_two_providers() -> None:
    async with ProviderRegistry(ENTRIES, {"OPENAI_KEY": "sk"}) as providers:
        assert await providers.get("openai") is not await providers.get("local")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("environ", [{}, {"OPENAI_KEY": ""}, {"GEMINI_KEY": "other"}])
async def test_entry_without_its_key_is_not_ready(environ: Mapping[str, str]) -> None:
    async with ProviderRegistry(ENTRIES, environ) as providers:
        assert not providers.is_ready("openai")
        with pytest.raises(ProviderNotReady, match="'openai'") as caught:
            providers.check("openai")
        with pytest.raises(ProviderNotReady):
            await providers.get("openai")
    assert (caught.value.status, caught.value.field) == (503, "provider")


@pytest.mark.promise("secret:kept")
async def test_entry_with_its_key_is_ready_and_hides_it() -> None:
    async with ProviderRegistry(ENTRIES, {"OPENAI_KEY": "sk-secret"}) as providers:
        assert providers.is_ready("openai")
        assert providers.check("openai") is ENTRIES["openai"]
        assert providers.is_ready("local")
        assert providers.is_ready("fake")
        assert "sk-secret" not in repr(providers.entries) + repr(await providers.get("openai"))


@pytest.mark.promise("input:clear-error")
async def test_unknown_entry_is_refused_with_the_known_names() -> None:
    async with ProviderRegistry(ENTRIES, {}) as providers:
        with pytest.raises(InvalidField, match="fake, gemini, local, openai") as caught:
            await providers.get("unknown")
    assert caught.value.field == "provider"


async def test_leaving_the_registry_closes_its_providers() -> None:
    prompt = Prompt(messages=(UserMessage("Say it."),))
    with anyio.fail_after(10):
        async with upstream(text("a"), finish()) as api:
            async with ProviderRegistry({"local": OPENAI.entry(api.url)}, {}) as providers:
                provider = await providers.get("local")
                async with answering(provider, prompt) as deltas:
                    assert [delta async for delta in deltas]
                assert api.calls[0].closed_at is None
            await api.calls[0].closed.wait()


class Unclosable(AsyncExitStack):
    """Fails when it is closed, as an SDK may."""

    @override
    async def aclose(self) -> None:
        raise RuntimeError("a secret")


@pytest.mark.promise("change:no-loss")
async def test_a_provider_is_closed_when_nobody_holds_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It opens again on its next use. A failure to close is logged, and harms nothing else."""
    async with ProviderRegistry(ENTRIES, {}) as providers:
        client = providers.client("fake")
        client.hold()
        provider = await client.get()
        client.release()
        client.hold()  # before it is closed
        await anyio.wait_all_tasks_blocked()
        assert await client.get() is provider
        client.release()
        await anyio.wait_all_tasks_blocked()
        assert not client.is_open
        assert await client.get() is not provider

        successor = providers.successor({**ENTRIES, "local": FakeSettings()})
        assert successor.client("fake") is client
        assert successor.client("local") is not providers.client("local")

        client._stack = Unclosable()
        client.hold()
        client.release()
        await anyio.wait_all_tasks_blocked()
    [line] = caplog.messages
    assert line.startswith("provider.unclosed kind=fake exception=RuntimeError")
    assert "secret" not in line


# mypy compares each adapter with the port; the registry finds them by name.
FAKE: OpenProvider[FakeSettings] = fake.open_provider
OPENAI_ADAPTER: OpenProvider[OpenAISettings] = openai.open_provider
GEMINI_ADAPTER: OpenProvider[GeminiSettings] = gemini.open_provider


def test_every_kind_of_entry_has_an_adapter() -> None:
    adapters = {
        FakeSettings: FAKE,
        OpenAISettings: OPENAI_ADAPTER,
        GeminiSettings: GEMINI_ADAPTER,
    }
    assert adapters.keys() == set(ProviderSettings.__args__)
    for entry in ENTRIES.values():
        assert load_adapter(entry) is adapters[type(entry)]


async def test_entry_that_cannot_be_opened_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(entry: ProviderSettings) -> OpenProvider[ProviderSettings]:
        if isinstance(entry, OpenAISettings):
            raise ModuleNotFoundError
        return load_adapter(entry)

    monkeypatch.setattr(registry, "load_adapter", broken)
    async with ProviderRegistry(ENTRIES, {"GEMINI_KEY": "g"}) as providers:
        await providers.open_ready()
        assert {name for name in ENTRIES if providers.client(name).is_open} == {
            name for name, entry in ENTRIES.items() if not isinstance(entry, OpenAISettings)
        }
    [line] = caplog.messages
    assert line.startswith("provider.unopened provider=local exception=ModuleNotFoundError at=")
