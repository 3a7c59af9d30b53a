"""The operations for operators, and the document itself."""

from collections.abc import Mapping

from streamsvc.errors import OperatorsOnly, Unauthorized
from streamsvc.web.openapi.operation import Answer, Operation, json

_PAGE = {"schema": {"type": "string"}, "example": "streamsvc_viewers 3.0\n"}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/v1/providers"): Operation(
        id="listProviders",
        tag="service",
        summary="Return the configured provider entries and their state; never keys.",
        answers={200: Answer("The entries.", json("ProviderStates"))},
    ),
    ("GET", "/healthz"): Operation(
        id="isAlive",
        tag="service",
        summary="Say that the process is alive.",
        answers={200: Answer("It is.", json("Health"))},
    ),
    ("GET", "/readyz"): Operation(
        id="isReady",
        tag="service",
        summary="Say whether the process accepts new work.",
        answers={
            200: Answer("It does.", json("Readiness")),
            503: Answer("It does not.", json("Readiness")),
        },
    ),
    ("GET", "/metrics"): Operation(
        id="readMetrics",
        tag="service",
        summary="Return figures for Prometheus.",
        description=(
            'By default only for programs on the service\'s own machine. With `metrics.access = "key"`, the bearer'
            " token is a key of its own; API keys do not open it."
        ),
        answers={
            200: Answer(
                "The figures of all workers, in the format that `Accept` prefers.",
                {
                    "application/openmetrics-text; version=1.0.0; charset=utf-8": _PAGE,
                    "text/plain; version=0.0.4; charset=utf-8": _PAGE,
                },
            )
        },
        errors=(OperatorsOnly, Unauthorized),
    ),
    ("GET", "/openapi.json"): Operation(
        id="readDocument",
        tag="service",
        summary="Return this document.",
        answers={
            200: Answer("The document.", {"application/json": {"schema": {"type": "object"}}})
        },
    ),
}
