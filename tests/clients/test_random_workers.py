"""Official clients, unmodified, behind a load balancer that sends every connection to a random worker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import chain, count, repeat

import anyio
import pytest
from openai_clients import Client, How, PythonClient, Question, Report, node_client

from support.ai_sdk import ai_sdk_chat
from support.proxy import after_events, breaking_proxy, never
from support.random_workers import TEXT, Pair, pair_on
from support.redis_servers import RedisServer

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.timeout(120)]

ASKED = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
HOWS: tuple[How, ...] = ("stream", "helper", "whole")
CHATS = count()


@pytest.fixture(scope="module")
async def pair(
    valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    async with pair_on(valkey, "random-clients", tmp_path_factory.mktemp("workers")) as pair:
        yield pair


@pytest.mark.promise("scale:any-worker")
@pytest.mark.parametrize(
    "name",
    ["python", *(pytest.param(name, marks=pytest.mark.node) for name in ("openai6", "openai7"))],
)
async def test_openai_clients_get_the_whole_answer_and_find_it_on_the_other_worker(
    pair: Pair, name: str
) -> None:
    reports: list[Report] = []
    async with AsyncExitStack() as stack:
        client: Client = PythonClient()
        if name != "python":
            client = await stack.enter_async_context(node_client(name))
        proxy = await stack.enter_async_context(
            breaking_proxy(pair.ports(seed=len(name)), repeat(never))
        )

        async def ask(how: How) -> None:
            url = f"http://127.0.0.1:{proxy.port}"
            reports.append(await client.ask(Question(url=url, how=how, body=ASKED)))

        async with anyio.create_task_group() as tasks:
            for how in HOWS:
                tasks.start_soon(ask, how)
    assert [report.text for report in reports] == [TEXT] * len(HOWS)
    generations = {report.generation for report in reports} - {None}  # the helper does not tell
    for generation in generations:
        for worker in pair.workers:
            kept = (await worker.client.get(f"/v1/generations/{generation}")).json()
            assert (kept["status"], kept["text"]) == ("completed", TEXT)


libraries = pytest.mark.parametrize("library", ["ai6", "ai7"])


@pytest.mark.node
@libraries
@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("resume:no-gap")
async def test_use_chat_resumes_on_random_workers(pair: Pair, library: str) -> None:
    """The connection breaks in mid-answer, twice; the chat has one message with every word once."""
    before = pair.ended
    here, there = (worker.port for worker in pair.workers)
    for first, second in ((here, there), (there, here)):
        cuts = chain([after_events(10), after_events(20)], repeat(never))
        ports = chain([first, second], pair.ports(seed=5))
        async with (
            breaking_proxy(ports, cuts) as proxy,
            ai_sdk_chat(library, proxy.port, f"chat-{next(CHATS)}") as chat,
        ):
            assert (await chat("send", "Hello")).status == "error"
            await chat("reload")
            await chat("resume")
            await chat("reload")
            seen = await chat("resume")
            assert (seen.status, seen.texts()) == ("ready", [TEXT])
            assert proxy.broken == 2
    await pair.until_ended(before + 2)
    assert pair.ended == before + 2


@pytest.mark.node
@libraries
@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("cancel:stop")
async def test_use_chat_stops_through_the_other_worker(pair: Pair, library: str) -> None:
    """The stop is a request of its own, and reaches the upstream's socket from any worker."""
    here, there = (worker.port for worker in pair.workers)
    async with (
        breaking_proxy(chain([here], repeat(there)), repeat(never)) as proxy,
        ai_sdk_chat(library, proxy.port, f"chat-{next(CHATS)}") as chat,
    ):
        await chat("use", {"body": {"provider": "paced"}})
        await chat("begin", "Hello")
        await chat("words", 20)
        call = pair.api.calls[-1]
        await chat("stopForReal")
        with anyio.fail_after(10):
            await call.closed.wait()
        await chat("end")
