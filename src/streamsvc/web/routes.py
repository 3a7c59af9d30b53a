"""The HTTP surface on one page."""

from starlette.routing import BaseRoute, Mount, Route

from streamsvc.web.ai_sdk import UIMessageEndpoints
from streamsvc.web.native import GenerationEndpoints
from streamsvc.web.openai import ChatCompletionEndpoints
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.playground import Playground


def routes(
    generations: GenerationEndpoints,
    chat_completions: ChatCompletionEndpoints,
    ui_messages: UIMessageEndpoints,
    operations: OperationEndpoints,
    playground: Playground | None,
) -> list[BaseRoute]:
    """Return the route table: what is asked most comes first, because it is gone through from the top."""
    one = "/v1/generations/{id}"
    page: list[BaseRoute] = []
    if playground is not None:
        page = [
            Route("/", playground.page, methods=["GET"]),
            Mount("/playground", playground),
        ]
    return [
        Route("/v1/chat/completions", chat_completions.create, methods=["POST"]),
        Route("/v1/generations", generations.create, methods=["POST"]),
        Route("/stream-ai", generations.stream_ai, methods=["GET"]),
        *page,
        Route(one, generations.snapshot, methods=["GET"]),
        Route(f"{one}/events", generations.events, methods=["GET"]),
        Route(f"{one}/stop", generations.stop, methods=["POST"]),
        Route("/v1/models", chat_completions.models, methods=["GET"]),
        Route("/v1/models/{id:path}", chat_completions.model, methods=["GET"]),
        Route("/api/chat", ui_messages.create, methods=["POST"]),
        Route("/api/chat/{id:path}/stream", ui_messages.resume, methods=["GET"]),
        Route("/api/chat/{id:path}/stop", ui_messages.stop, methods=["POST"]),
        Route("/v1/providers", operations.providers, methods=["GET"]),
        Route("/healthz", operations.healthz, methods=["GET"]),
        Route("/readyz", operations.readyz, methods=["GET"]),
    ]
