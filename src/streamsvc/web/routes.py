"""The HTTP surface on one page."""

from starlette.routing import BaseRoute, Mount, Route

from streamsvc.web.generations import GenerationEndpoints
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.playground import Playground


def routes(
    generations: GenerationEndpoints,
    operations: OperationEndpoints,
    playground: Playground | None,
) -> list[BaseRoute]:
    """Return the route table."""
    one = "/v1/generations/{id}"
    page: list[BaseRoute] = []
    if playground is not None:
        page = [
            Route("/", playground.page, methods=["GET"]),
            Mount("/playground", playground),
        ]
    return [
        *page,
        Route("/stream-ai", generations.stream_ai, methods=["GET"]),
        Route("/v1/generations", generations.create, methods=["POST"]),
        Route(one, generations.snapshot, methods=["GET"]),
        Route(f"{one}/events", generations.events, methods=["GET"]),
        Route(f"{one}/stop", generations.stop, methods=["POST"]),
        Route("/v1/providers", operations.providers, methods=["GET"]),
        Route("/healthz", operations.healthz, methods=["GET"]),
        Route("/readyz", operations.readyz, methods=["GET"]),
    ]
