"""Each frame is made once, for any number of viewers and any size of batch."""

from collections import Counter
from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.shared import SharedDialect
from streamsvc.dialects.native.text import TextDialect
from streamsvc.events import Record, Text
from support.eventstream import view

VIEWERS = 5
BATCH = 3
BATCHES = 4

DIALECTS: dict[str, type[SharedDialect]] = {"json": NativeDialect, "text": TextDialect}

SILENT = Settings(
    providers={"fake": FakeSettings(first_word_seconds=3600)},
    generations=GenerationSettings(grace_seconds=60),
)


@pytest.fixture(params=DIALECTS)
def form(request: pytest.FixtureRequest) -> str:
    form: str = request.param
    return form


@pytest.fixture
def made(form: str, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Count how often each record's frame is made, by the record's number."""
    counts: Counter[int] = Counter()
    make = DIALECTS[form].frame

    def frame(self: SharedDialect, record: Record) -> bytes:
        counts[record.seq] += 1
        return make(self, record)

    monkeypatch.setattr(DIALECTS[form], "frame", frame)
    return counts


@pytest.mark.promise("fan-out:shared")
async def test_viewers_share_each_frame_of_a_batch(
    serve: Serve, form: str, made: Counter[int]
) -> None:
    service = await serve(SILENT)
    answer = await service.client.post("/v1/generations", json={"prompt": "hi"})
    generation = answer.json()["id"]
    with anyio.fail_after(10):
        async with AsyncExitStack() as stack:
            viewers = [
                await stack.enter_async_context(
                    view(service.port, f"/v1/generations/{generation}/events?format={form}")
                )
                for _ in range(VIEWERS)
            ]
            for viewer in viewers:
                assert (await viewer.event()).type == "start"
            made.clear()
            for batch in range(BATCHES):
                for word in range(BATCH):  # in one turn of the event loop
                    service.log.append(generation, Text(f"{batch}.{word}"))
                seen = [[await viewer.event() for _ in range(BATCH)] for viewer in viewers]
                for events in seen:
                    assert [f"{batch}.{word}" in events[word].data for word in range(BATCH)]
    assert made == dict.fromkeys(range(1, BATCH * BATCHES + 1), 1)


@pytest.mark.parametrize("dialect", [NativeDialect(), TextDialect()])
@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_shared_frame_equals_a_fresh_one(
    dialect: NativeDialect | TextDialect, texts: list[str]
) -> None:
    """Also after another dialect has encoded the record, and in any order."""
    records = [Record("gen_a", seq, Text(text)) for seq, text in enumerate(texts)]
    fresh = type(dialect)()
    others = NativeDialect(), TextDialect()
    for record in reversed(records):
        for other in others:
            other.encode(record)
    for record in (*records, *records):
        whole = fresh.encode(Record(record.generation, record.seq, record.event))
        assert dialect.encode(record) == whole
