"""The operations for operators, and the document itself."""

from collections.abc import Mapping

from streamsvc.web.openapi.operation import Answer, Operation, json

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
    ("GET", "/openapi.json"): Operation(
        id="readDocument",
        tag="service",
        summary="Return this document.",
        answers={
            200: Answer("The document.", {"application/json": {"schema": {"type": "object"}}})
        },
    ),
}
