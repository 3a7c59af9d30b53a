"""The service as it is usually built. `python -m bench.apps.naive PORT UPSTREAM_PORT`.

sse-starlette's response over the stream objects of the openai SDK, with the defaults of both.
"""

import json
import sys
from collections.abc import AsyncIterator

import uvicorn
from openai import AsyncOpenAI
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_app(upstream_port: int) -> Starlette:
    """Build the service."""
    client = AsyncOpenAI(
        base_url=f"http://127.0.0.1:{upstream_port}/v1", api_key="none-needed", max_retries=0
    )

    async def chat(request: Request) -> Response:
        body = await request.json()

        async def events() -> AsyncIterator[dict[str, str]]:
            stream = await client.chat.completions.create(
                model=body["model"], messages=body["messages"], stream=True
            )
            async for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield {"data": json.dumps({"type": "text", "text": text})}
            yield {"event": "done", "data": "{}"}

        return EventSourceResponse(events())

    async def healthz(_request: Request) -> Response:
        return Response("ok")

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/healthz", healthz),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(
        create_app(int(sys.argv[2])), port=int(sys.argv[1]), log_level="warning", access_log=False
    )
