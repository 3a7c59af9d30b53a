"""All routes on one page."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from streamsvc.web.ai_sdk import UIMessageEndpoints
from streamsvc.web.demo import DemoEndpoints
from streamsvc.web.native import GenerationEndpoints
from streamsvc.web.openai import ChatCompletionEndpoints
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.playground import Playground
from streamsvc.web.requests import RequestHead, read_head


def routes(
    generations: GenerationEndpoints,
    chat_completions: ChatCompletionEndpoints,
    ui_messages: UIMessageEndpoints,
    operations: OperationEndpoints,
    playground: Playground | None,
    demo: DemoEndpoints | None,
) -> list[BaseRoute]:
    """Return the route table, most frequent first, because it is searched from the top."""
    one = "/v1/generations/{id}"
    page: list[BaseRoute] = []
    if playground is not None:
        page = [
            Route("/", playground.page, methods=["GET"]),
            Mount("/playground", playground),
        ]
    if demo is not None:
        produced = "/demo/generations/{id}"
        page += [
            Route(produced, demo.show, methods=["GET"]),
            Route(f"{produced}/kill", _with_head(demo.kill), methods=["POST"]),
        ]
    return [
        Route("/v1/chat/completions", _with_head(chat_completions.create), methods=["POST"]),
        Route("/v1/generations", _with_head(generations.create), methods=["POST"]),
        Route("/stream-ai", _with_head(generations.stream_ai), methods=["GET"]),
        *page,
        Route(one, generations.snapshot, methods=["GET"]),
        Route(f"{one}/events", _with_head(generations.events), methods=["GET"]),
        Route(f"{one}/stop", generations.stop, methods=["POST"]),
        Route("/v1/models", chat_completions.models, methods=["GET"]),
        Route("/v1/models/{id:path}", chat_completions.model, methods=["GET"]),
        Route("/api/chat", _with_head(ui_messages.create), methods=["POST"]),
        Route("/api/chat/{id:path}/stream", _with_head(ui_messages.resume), methods=["GET"]),
        Route("/api/chat/{id:path}/stop", _with_head(ui_messages.stop), methods=["POST"]),
        Route("/v1/providers", operations.providers, methods=["GET"]),
        Route("/healthz", operations.healthz, methods=["GET"]),
        Route("/readyz", operations.readyz, methods=["GET"]),
    ]


def _with_head(
    endpoint: Callable[[Request, RequestHead], Awaitable[Response]],
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """Return an endpoint that receives the head of its request: this is the only place that reads it."""

    @wraps(endpoint)
    async def called(request: Request) -> Response:
        return await endpoint(request, read_head(request))

    return called
