"""What the hooks report of viewers and refusals, on a real socket."""

import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from streamsvc.hooks import GenerationEnded, Refused, ViewerJoined, ViewerLeft
from support.eventstream import view
from support.logged import Heard
from support.service import Service


def settings(**fake: object) -> Settings:
    text = " ".join(["word"] * 20)
    section = FakeSettings(**{"text": text, "words_per_second": 200, **fake})  # type: ignore[arg-type]
    return Settings(providers={"fake": section})


def heard_by(service: Service) -> Heard:
    return Heard(service.app.state.hooks)


@pytest.mark.parametrize(
    ("target", "dialect"),
    [("/stream-ai?prompt=hi", "native"), ("/stream-ai?prompt=hi&format=text", "text")],
)
async def test_a_viewer_is_reported_with_what_it_got(
    serve: Serve, target: str, dialect: str
) -> None:
    service = await serve(settings())
    heard = heard_by(service)
    async with view(service.port, target) as answer:
        body = await answer.body()
    await service.until(lambda: bool(heard.of(ViewerLeft) and heard.of(GenerationEnded)))
    joined, left = heard.one(ViewerJoined), heard.one(ViewerLeft)
    assert joined.generation == left.generation == heard.one(GenerationEnded).generation
    assert (joined.dialect, joined.after) == (dialect, -1)
    assert (left.dialect, left.reason) == (dialect, "finished")
    assert left.first_frame_seconds is not None
    assert 0 < left.first_frame_seconds <= left.seconds
    assert 0 < left.gaps.seconds <= left.seconds - left.first_frame_seconds + 0.001  # rounding
    assert 1 <= len(left.gaps) <= 21
    assert left.sent_bytes == len(body) - len(b"retry: 2000\n")


async def test_a_viewer_that_leaves_is_reported_as_such(serve: Serve) -> None:
    service = await serve(settings(fault="stall"))
    heard = heard_by(service)
    async with view(service.port, "/stream-ai?prompt=hi") as answer:
        await answer.event()
    await service.until(lambda: bool(heard.of(ViewerLeft)))
    assert heard.one(ViewerLeft).reason == "left"


async def test_a_refusal_is_reported_without_what_the_client_chose(serve: Serve) -> None:
    service = await serve(settings())
    heard = heard_by(service)
    await service.client.get("/v1/generations/the-secret-id?x=the-secret-query")
    refused = heard.one(Refused)
    assert (refused.status, refused.code, refused.method) == (404, "generation_not_found", "GET")
    assert "secret-query" not in repr(refused)
