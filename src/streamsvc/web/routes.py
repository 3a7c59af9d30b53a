"""All routes on one page, each with who may call it."""

from collections.abc import Sequence
from functools import partial

from starlette.routing import BaseRoute, Mount

from streamsvc.web.access import Access, AccessControl, Endpoint, ServiceRoute
from streamsvc.web.ai_sdk import UIMessageEndpoints
from streamsvc.web.demo import DemoEndpoints
from streamsvc.web.native import GenerationEndpoints
from streamsvc.web.openai import ChatCompletionEndpoints
from streamsvc.web.openapi.document import DocumentEndpoint
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.operations_page import OperationsPage
from streamsvc.web.playground import Playground
from streamsvc.web.tickets import TicketEndpoints


def routes(  # noqa: PLR0913  # the endpoints of each kind, passed by name
    *,
    generations: GenerationEndpoints,
    chat_completions: ChatCompletionEndpoints,
    ui_messages: UIMessageEndpoints,
    tickets: TicketEndpoints,
    operations: OperationEndpoints,
    metrics: Endpoint | None,
    overview: OperationsPage | None,
    playground: Playground | None,
    demo: DemoEndpoints | None,
    control: AccessControl,
) -> Sequence[BaseRoute]:
    """Return the route table, most frequent first, because it is searched from the top."""
    caller = partial(ServiceRoute, access=Access.CALLER, control=control)
    public = partial(ServiceRoute, access=Access.PUBLIC, control=control)
    ticket = partial(ServiceRoute, access=Access.TICKET, control=control)
    operator = partial(ServiceRoute, access=Access.OPERATOR, control=control)
    figures: list[BaseRoute] = []
    if metrics is not None:
        figures.append(operator("/metrics", metrics, "GET"))
    if overview is not None:
        figures += [
            public("/operations", overview.page, "GET"),
            operator("/operations/state", overview.state, "GET"),
            Mount("/operations/page", overview),
        ]
    one = "/v1/generations/{id}"
    page: list[BaseRoute] = []
    if playground is not None:
        page = [public("/", playground.page, "GET"), Mount("/playground", playground)]
    if demo is not None:
        produced = "/demo/generations/{id}"
        page += [
            caller(produced, demo.show, "GET"),
            caller(f"{produced}/kill", demo.kill, "POST"),
        ]
    return [
        caller("/v1/chat/completions", chat_completions.create, "POST"),
        caller("/v1/generations", generations.create, "POST"),
        caller("/stream-ai", generations.stream_ai, "GET", refuse=generations.refuse),
        *page,
        caller(one, generations.snapshot, "GET"),
        caller(f"{one}/events", generations.events, "GET", refuse=generations.refuse),
        caller(f"{one}/stop", generations.stop, "POST"),
        caller("/v1/tickets", tickets.create, "POST"),
        ticket("/v1/stream", tickets.stream, "GET"),
        caller("/v1/models", chat_completions.models, "GET"),
        caller("/v1/models/{id:path}", chat_completions.model, "GET"),
        caller("/api/chat", ui_messages.create, "POST"),
        caller("/api/chat/{id:path}/stream", ui_messages.resume, "GET"),
        caller("/api/chat/{id:path}/stop", ui_messages.stop, "POST"),
        caller("/v1/providers", operations.providers, "GET"),
        public("/healthz", operations.healthz, "GET"),
        public("/readyz", operations.readyz, "GET"),
        *figures,
        public("/openapi.json", DocumentEndpoint().show, "GET"),
    ]
