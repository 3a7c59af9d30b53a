"""A service in this process gets other settings while answers run."""

import gc

import anyio
import msgspec
import pytest

from conftest import Serve
from streamsvc.config.guard_settings import PrincipalLimits
from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.config.settings import (
    CorsSettings,
    LimitSettings,
    PlaygroundSettings,
    ServerSettings,
    Settings,
)
from streamsvc.engine.circuit import State
from streamsvc.engine.entries import Terms
from streamsvc.errors import ConfigError
from streamsvc.front import Front
from streamsvc.provider_errors import ProviderUnavailable
from streamsvc.providers.registry import ProviderClient
from support.api_keys import KeysFile, bearer, guarded, keys_file
from support.doubles import ScriptedProvider
from support.eventstream import view
from support.native import ASK, at_once
from support.service import Service

keys = keys_file()

BOUND_SECONDS = 20


def with_entries(**providers: ProviderSettings) -> Settings:
    return Settings(providers={**providers})


async def answer(service: Service, path: str = ASK) -> str:
    return (await service.client.get(f"{path}&format=plain")).text


@pytest.mark.promise("change:no-loss")
async def test_a_running_answer_falls_back_to_the_entries_it_began_with(serve: Serve) -> None:
    """Its own entry and its fallback have changed meanwhile; both close when it has ended."""
    fail = anyio.Event()

    first = at_once("one", fallbacks=("second",), attempts=1)
    service = await serve(with_entries(fake=first, second=at_once("old")))
    old = [*service.supervisor.entries]
    old[0].client.use(ScriptedProvider(fail, ProviderUnavailable()))
    with anyio.fail_after(BOUND_SECONDS):
        async with view(service.port, ASK) as stream:
            assert (await stream.event()).json["provider"] == "fake"
            changed = with_entries(fake=at_once("new"), third=at_once("third"))
            await service.app.reload(changed)
            assert [entry.running for entry in service.supervisor.entries] == [1, 0]
            assert await answer(service) == "new"
            assert await answer(service, f"{ASK}&provider=third") == "third"
            fail.set()
            events = await stream.events()
        assert "".join(it.json["text"] for it in events if it.type == "message") == "old"
        await service.until(lambda: service.supervisor.running == 0)
        while any(entry.client.is_open for entry in old):
            await anyio.lowlevel.checkpoint()
    assert [entry.running for entry in service.supervisor.entries] == [0, 0]


@pytest.mark.promise("change:no-loss")
async def test_an_entry_that_stays_keeps_its_circuit_and_provider(serve: Serve) -> None:
    """A changed one begins with a closed circuit."""
    failing = at_once("x", circuit_failures=1, attempts=1)
    service = await serve(with_entries(fake=failing, other=failing))
    before = [*service.supervisor.entries]
    for entry in before:
        entry.client.use(ScriptedProvider(ProviderUnavailable()))
        async with view(service.port, f"{ASK}&provider={entry.name}") as stream:
            assert (await stream.events())[-1].json["status"] == "failed"
        assert entry.circuit.state is State.OPEN
    await service.app.reload(with_entries(fake=failing, other=at_once("other")))
    same, other = service.supervisor.entries
    assert same is before[0]
    assert same.client.is_open
    assert other.circuit.state is State.CLOSED
    assert await answer(service, f"{ASK}&provider=other") == "other"


@pytest.mark.promise("resume:never-regenerate")
async def test_a_key_finds_its_answer_when_another_entry_is_usual(serve: Serve) -> None:
    """Even if the entry that has answered is gone. A client that names an entry means that entry."""
    service = await serve(with_entries(fake=at_once("one")))
    with anyio.fail_after(BOUND_SECONDS):
        assert await answer(service, f"{ASK}&key=a") == "one"
        assert await answer(service, f"{ASK}&key=b&provider=fake") == "one"
        other = msgspec.structs.replace(with_entries(other=at_once("two")), provider="other")
        await service.app.reload(other)
        assert await answer(service, f"{ASK}&key=a") == "one"
        assert await answer(service, f"{ASK}&key=b&provider=fake") == "one"
        assert await answer(service, f"{ASK}&key=c") == "two"


async def test_each_part_of_the_front_has_the_new_settings(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": at_once("hello")}))
    assert (await service.client.get("/")).status_code == 200
    elsewhere, foreign = {"Host": "a.example"}, {"Origin": "https://b.example"}
    assert (await service.client.get("/healthz", headers=elsewhere)).status_code == 421
    await service.app.reload(
        Settings(
            server=ServerSettings(hosts=("a.example",)),
            cors=CorsSettings(origins=("https://b.example",)),
            playground=PlaygroundSettings(enabled=False),
            limits=LimitSettings(max_prompt_chars=3, requests_per_minute=1),
            principal_limits=PrincipalLimits(max_viewers=1),
            providers={"fake": at_once("hello")},
        )
    )
    assert (await service.client.get("/")).status_code == 404
    assert (await service.client.get("/healthz", headers=elsewhere)).status_code == 200
    page = await service.client.get("/healthz", headers=foreign)
    assert page.headers["access-control-allow-origin"] == "https://b.example"
    assert (await service.client.get("/stream-ai?prompt=long")).status_code == 413
    statuses = [
        (await service.client.get("/stream-ai?prompt=hi&format=plain")).status_code for _ in "12"
    ]
    assert statuses == [200, 429]


@pytest.mark.promise("door:closed")
async def test_other_limits_count_for_the_keys_that_are_known(serve: Serve, keys: KeysFile) -> None:
    """An entry that a principal may name must stay: without it, nothing changes."""
    key = keys.add("a")
    keys.replace(keys.text.replace("[principals.a]", '[principals.a]\nproviders = ["fake"]', 1))
    before = guarded(Settings(providers={"fake": at_once("one")}), keys)
    service = await serve(before)
    headers = bearer(key)
    limits = PrincipalLimits(requests_per_minute=1)
    await service.app.reload(msgspec.structs.replace(before, principal_limits=limits))
    asked = [await service.client.get(ASK, headers=headers) for _ in "12"]
    assert [it.headers["content-type"].partition(";")[0] for it in asked] == [
        "text/event-stream"
    ] * 2
    assert "rate_limited" in asked[1].text or asked[1].status_code == 429
    settings = service.app.settings
    with pytest.raises(ConfigError):
        await service.app.reload(
            msgspec.structs.replace(before, provider="b", providers={"b": at_once("two")})
        )
    assert service.app.settings is settings
    assert [entry.name for entry in service.supervisor.entries] == ["fake"]


@pytest.mark.promise("change:no-loss")
async def test_nothing_is_left_of_old_fronts(serve: Serve) -> None:
    service = await serve(with_entries(fake=at_once("0")))

    def living() -> list[int]:
        gc.collect()
        things = gc.get_objects()
        return [sum(type(it) is kind for it in things) for kind in (Front, Terms, ProviderClient)]

    before = living()  # others may be of earlier tests
    for number in range(1, 31):
        await service.app.reload(with_entries(fake=at_once(str(number))))
        assert await answer(service) == str(number)
    await service.until(lambda: service.supervisor.running == 0)
    await anyio.wait_all_tasks_blocked()
    first = [0, 0, 1]  # the first providers belong to the lifespan
    assert living() == [old + one for old, one in zip(before, first, strict=True)]
