"""Bad tools, results, schemas and images, sent to `python -m streamsvc serve`: a clear error, and no provider is called."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support.asking import CLIENTS, answered
from support.contents import (
    HI,
    PNG,
    asking,
    call,
    calling,
    data_url,
    image,
    result,
    schema_format,
    tool,
)
from support.process import Running, serve, write_config
from support.upstreams import Upstream, upstream

RECURSIVE = {"type": "object", "properties": {"next": {"$ref": "#"}}}

BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown call", {"messages": [HI, result("a")]}, 422, "messages[1].tool_call_id"),
    (
        "arguments",
        {"messages": [HI, calling(call(arguments="Paris")), result()]},
        422,
        "messages[1].tool_calls[0].function.arguments",
    ),
    ("no result", {"messages": [HI, calling(call()), HI]}, 422, "messages[1].tool_calls[0]"),
    (
        "cycle in a tool",
        {"messages": [HI], "tools": [tool(parameters=RECURSIVE)]},
        422,
        "tools[0].function.parameters",
    ),
    (
        "cycle in a format",
        {"messages": [HI], "response_format": schema_format(RECURSIVE)},
        422,
        "response_format.json_schema.schema",
    ),
    ("200 tools", {"messages": [HI], "tools": [tool(f"t{n}") for n in range(200)]}, 422, "tools"),
    (
        "unknown tool",
        {
            "messages": [HI],
            "tools": [tool("a")],
            "tool_choice": {"type": "function", "function": {"name": "b"}},
        },
        422,
        "tool_choice.function.name",
    ),
    (
        "address",
        {"messages": [image("http://127.0.0.1/a.png")]},
        422,
        "messages[0].content[1].image_url.url",
    ),
    (
        "audio",
        {"messages": [asking({"type": "input_audio", "input_audio": {}})]},
        422,
        "messages[0].content[1].type",
    ),
    (
        "6 MB image",
        {"messages": [image(data_url(PNG.ljust(6_000_000)))]},
        413,
        "messages[0].content[1].image_url.url",
    ),
]


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Upstream]:
    async with upstream() as api:
        yield api


@pytest.fixture(scope="module")
async def service(
    api: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    directory: Path = tmp_path_factory.mktemp("serve")
    entry = {"kind": "openai", "model": "gpt-test", "base_url": f"{api.url}/v1"}
    write_config(directory, {"providers.fake": entry})
    async with serve(directory, {}) as service:
        yield service


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("body", "status", "field"), [it[1:] for it in BAD], ids=[it[0] for it in BAD]
)
async def test_bad_content_is_refused_and_nothing_is_asked(
    service: Running, api: Upstream, body: dict[str, Any], status: int, field: str
) -> None:
    answer = await answered(
        service.port, CLIENTS["native"].request(), raw=json.dumps(body).encode()
    )
    problem = json.loads(bytes(answer.raw))
    assert (answer.status, problem["field"]) == (status, field)
    assert field in problem["detail"] or "limits." in problem["detail"]
    raw = json.dumps({"model": "fake", **body}).encode()
    answer = await answered(service.port, CLIENTS["openai"].request(), raw=raw)
    error = json.loads(bytes(answer.raw))["error"]
    assert (answer.status, error["param"]) == (400 if status == 422 else status, field)
    assert error["message"] == problem["detail"]
    assert not api.calls


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", ["native", "openai"])
async def test_image_of_20_mb_is_refused_with_its_limit(
    service: Running, api: Upstream, name: str
) -> None:
    """Its body alone is too large: it is refused by the length that it announces, or while it arrives."""
    body = {"model": "fake", "messages": [image(data_url(PNG.ljust(20_000_000)))]}
    answer = await answered(service.port, CLIENTS[name].request(), raw=json.dumps(body).encode())
    assert answer.status == 413
    assert b"larger than 20000000 bytes (limits.max_body_bytes)" in bytes(answer.raw)
    assert not api.calls


@pytest.mark.promise("input:clear-error")
async def test_official_client_raises_what_names_the_parameter(
    service: Running, api: Upstream
) -> None:
    url = f"http://127.0.0.1:{service.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        for body in (
            it[1] for it in BAD if it[0] in {"unknown call", "200 tools", "cycle in a tool"}
        ):
            with pytest.raises(openai.BadRequestError) as raised:
                await client.chat.completions.create(model="fake", **body)
            assert str(raised.value.param) in raised.value.message
    assert not api.calls
