"""Content filters in chat completions: a refused prompt is an error, a cut answer is not."""

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import Settings
from support.chat_completions import ASKED, CREATE, STREAMED, asking, assert_is_error, chunks, post
from support.eventstream import view
from support.native import snapshot
from support.shared import fresh_upstream
from support.upstreams import (
    GEMINI,
    OPENAI,
    Script,
    Upstream,
    Wire,
    finish,
    frame,
    raw,
    status,
    text,
    until,
)

api = fresh_upstream()

BLOCKED = raw(frame({"promptFeedback": {"blockReason": "SAFETY"}}))


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("wire", "script"),
    [
        (OPENAI, (status(400, {"error": {"code": "content_filter"}}),)),
        (OPENAI, (raw(frame({"error": {"code": "content_filter"}})),)),
        (GEMINI, (BLOCKED,)),
    ],
    ids=["openai", "openai in the stream", "gemini"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_refused_prompt_is_an_error_with_status_400(
    api: Upstream, serve: Serve, wire: Wire, script: Script, *, stream: bool
) -> None:
    """As with OpenAI and Azure; in the native dialect the answer ends with the reason."""
    service = await serve(Settings(providers={"fake": wire.entry(api.url, attempts=1)}))
    api.script(script)
    answer, body = await post(service, {**ASKED, "stream": stream})
    assert_is_error(answer, body, 400, None, "content_filter")
    assert body["error"]["type"] == "invalid_request_error"
    generation = answer.headers["x-generation-id"]
    described = await snapshot(service, generation)
    assert (described["status"], described["finish_reason"]) == ("incomplete", "content_filter")
    assert described["error"]["code"] == "content_filter"
    assert len(api.calls) == 1


async def test_prompt_refused_after_the_head_is_an_error_in_the_stream(
    api: Upstream, serve: Serve
) -> None:
    service = await serve(asking(api, head_seconds=0.0, ping_seconds=60))
    refuse = anyio.Event()
    api.script((until(refuse), status(400, {"error": {"code": "content_filter"}})))
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=STREAMED) as answer:
            assert answer.status == 200
            await answer.raw_until(b"assistant")
            refuse.set()
            rest = await answer.body()
    assert chunks(rest)[-1]["error"]["code"] == "content_filter"
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", [(), ("One ",)], ids=["before the first word", "in the middle"])
async def test_answer_ended_by_a_filter_is_not_an_error(
    api: Upstream, serve: Serve, said: tuple[str, ...], *, stream: bool
) -> None:
    """It ends with a finish reason, as with OpenAI."""
    service = await serve(asking(api))
    api.script((text(*said), finish("content_filter")))
    answer, body = await post(service, {**ASKED, "stream": stream})
    assert answer.status == 200
    end = chunks(body)[-1] if stream else body
    assert end["choices"][0]["finish_reason"] == "content_filter"
