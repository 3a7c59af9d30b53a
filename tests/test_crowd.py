"""Many generations with many viewers, all of which lose their connections again and again."""

import gc
import random
from collections import Counter

import anyio
import anyio.lowlevel
import pytest

from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from support.eventstream import view
from support.service import Service, serving
from support.upstreams import OPENAI, Call, Script, Upstream, finish, upstream
from support.upstreams import text as emit

GENERATIONS = 60
VIEWERS = 5
CUTS = 10
TOKENS = 40

SERVICE = ("streamsvc.", "sse_starlette.")


async def held() -> Counter[str]:
    """Count the objects of each kind that the service holds, without those of the viewers."""
    for _ in range(2):  # finalizers of the first collection free more objects
        gc.collect()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
    kinds = (type(one) for one in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__name__}"
        for kind in kinds
        if str(kind.__module__).startswith(SERVICE)
    )


def words_for(prompt: str) -> list[str]:
    return [f"{prompt}.{number} " for number in range(TOKENS)]


def paced_words(call: Call) -> Script:
    """Answer each prompt with different words, for about two seconds."""
    steps: Script = []
    for word in words_for(call.body["messages"][-1]["content"]):
        steps = [*steps, emit(word), lambda _: anyio.sleep(0.05)]
    return [*steps, finish()]


async def watch(port: int, generation: str, draw: random.Random) -> tuple[str, list[int]]:
    """Follow to the end over a connection that is cut ten times; return the text and the sequence numbers."""
    text, seqs, cursor = "", [], ""
    for cut in range(CUTS + 1):
        headers = {"Last-Event-ID": cursor} if cursor else {}
        async with view(port, f"/v1/generations/{generation}/events", headers=headers) as answer:
            if answer.status == 204:
                break
            wanted = draw.randrange(8) if cut < CUTS else TOKENS + 2
            for _ in range(wanted):
                event = await answer.event()
                seqs.append(event.seq)
                cursor = event.last_event_id
                if event.type == "message":
                    text += event.json["text"]
                if event.type == "done":
                    assert event.json["status"] == "completed"
                    break
    return text, seqs


async def one_generation(service: Service, prompt: str, draw: random.Random) -> None:
    # A kept connection would count as an object that the service holds.
    answer = await service.client.post(
        "/v1/generations", json={"prompt": prompt}, headers={"Connection": "close"}
    )
    generation = answer.json()["id"]

    async def one_viewer() -> None:
        text, seqs = await watch(service.port, generation, draw)
        assert text == "".join(words_for(prompt))
        assert seqs == list(range(TOKENS + 2))

    async with anyio.create_task_group() as viewers:
        for _ in range(VIEWERS):
            viewers.start_soon(one_viewer)


@pytest.mark.long
@pytest.mark.unmeasured
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("fan-out:shared")
@pytest.mark.timeout(240)
async def test_300_viewers_cut_ten_times_each_get_every_word_once() -> None:
    """Nothing is lost or repeated, and each generation makes one upstream call."""
    draw = random.Random(1)  # noqa: S311  # repeatable
    async with upstream() as api, serving(configuration(api), {}) as service:
        api.choose = paced_words
        await one_generation(service, "warm-up", draw)
        before = await held()
        with anyio.fail_after(180):
            async with anyio.create_task_group() as crowd:
                for number in range(GENERATIONS):
                    crowd.start_soon(one_generation, service, f"g{number}", draw)
        assert len(api.calls) == GENERATIONS + 1
        with anyio.fail_after(20):
            while service.log:
                await anyio.lowlevel.checkpoint()
        assert service.supervisor.running == 0
        assert service.supervisor.viewers == 0
        after = await held()
        assert after - before == Counter()


def configuration(api: Upstream) -> Settings:
    return Settings(
        provider="openai",
        stream=StreamSettings(retry_ms=500),
        generations=GenerationSettings(grace_seconds=30, keep_finished_seconds=5),
        providers={"openai": OPENAI.entry(api.url)},
    )
