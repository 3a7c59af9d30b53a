"""The OpenAPI document says what the service does."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Mount, Route

from conftest import Serve
from streamsvc.app import create_app
from streamsvc.config.settings import LogSettings, ServerSettings, Settings
from streamsvc.dialects.ai_sdk.request import UIMessageBody
from streamsvc.dialects.openai.fields import RequestBody
from streamsvc.dialects.request import RequestFields
from streamsvc.errors import RequestError
from streamsvc.server import refusal as of_server
from streamsvc.web.openapi.document import LEFT_OUT, OPERATIONS, SCHEMES, path_of
from streamsvc.web.openapi.errors import BEFORE, failures
from streamsvc.web.openapi.meanings import MEANINGS
from streamsvc.web.problems import Problem
from support import openapi
from support.chat_completions import BOUNDED
from support.reference import errors
from support.service import Service
from support.shared import shared_service

DOCUMENT: dict[str, Any] = json.loads(openapi.written())

service = shared_service(BOUNDED)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operations of the document: method, path, and what it says."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def examples() -> Iterator[Any]:
    """Yield the examples of bodies."""
    for _, path, operation in operations():
        body = operation.get("requestBody", {"content": {"application/json": {"examples": {}}}})
        for name, example in body["content"]["application/json"]["examples"].items():
            yield pytest.param(path, example["value"], id=f"{operation['operationId']}-{name}")


def codes_in(value: object) -> Iterator[str]:
    """Yield all values that the schemas have for `code`."""
    if isinstance(value, dict):
        yield from (
            value.get("code", {}).get("enum", ()) if isinstance(value.get("code"), dict) else ()
        )
        for part in value.values():
            yield from codes_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from codes_in(part)


def test_document_is_valid() -> None:
    validate(DOCUMENT)


def test_docs_have_the_current_document() -> None:
    """If they have not, run `uv run just tables`."""
    assert openapi.PAGE.read_text(encoding="utf-8") == openapi.written()


def test_every_route_is_documented_or_left_out_by_name() -> None:
    """Also what only a demo serves; and nothing is documented that is not served."""
    demo = Settings(log=LogSettings(kind="redis", url="redis://127.0.0.1:1"))
    routes = create_app(demo, {}, demo_worker=1).routes
    served = {
        (method, path_of(route))
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    mounted = {path_of(route) for route in routes if isinstance(route, Mount)}
    assert {(method, path) for method, path in served if path not in LEFT_OUT} == set(OPERATIONS)
    assert {path for _, path in served} | mounted == {path for _, path in OPERATIONS} | set(
        LEFT_OUT
    )
    assert {(method, path) for method, path, _ in operations()} == set(OPERATIONS)


def test_operations_of_callers_name_their_credentials() -> None:
    """All other operations are public, or for operators, who have a key of their own or none."""
    public = {"isAlive", "isReady", "readDocument", "openTicket"}
    for _, path, operation in operations():
        is_public = operation["operationId"] in public
        is_for_operators = operation["operationId"] == "readMetrics"
        assert len(operation["security"]) == (0 if is_public or is_for_operators else 4), path
        assert ("401" in operation["responses"]) is not is_public


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_every_component_is_used() -> None:
    text = json.dumps(DOCUMENT)
    used = set(re.findall(r"#/components/(\w+/[\w.-]+)", text))
    used |= {f"securitySchemes/{name}" for name in SCHEMES}
    defined = {f"{kind}/{name}" for kind, parts in DOCUMENT["components"].items() for name in parts}
    assert used == defined


def test_every_refusal_is_documented() -> None:
    kinds = [RequestError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {kind.code for kind in kinds} - {RequestError.code}
    assert codes - set(codes_in(DOCUMENT)) == set()


def test_refusals_of_the_server_are_documented() -> None:
    """All but the one of a method that no operation has."""
    problems = [it for it in vars(of_server).values() if isinstance(it, Problem)]
    sent = {(it.status, it.code) for it in problems} - {
        (501, "not_implemented"),
        (500, "internal_error"),
    }
    assert {(it.status, it.code) for it in BEFORE} == sent


def test_failures_of_answers_are_those_of_the_page_of_errors() -> None:
    """Besides the two that only OpenAI's dialect has."""
    only_openai = {it.code for it in errors.ONLY_OPENAI}
    assert {it.code for it in failures()} - only_openai == {it.code for it in errors.failures()}


def test_every_field_of_a_request_has_a_meaning() -> None:
    """Also each that `docs/reference/http.md` lists, and no other."""
    bodies = (RequestFields, RequestBody)
    assert {name for body in bodies for name in body.__struct_fields__} == set(MEANINGS)
    schemas = DOCUMENT["components"]["schemas"]
    for name, body in zip(
        ("GenerationBody", "ChatCompletionBody", "UIMessageBody"),
        (*bodies, UIMessageBody),
        strict=True,
    ):
        assert set(body.__struct_fields__) <= set(schemas[name]["properties"])
        assert all(it["description"] for it in schemas[name]["properties"].values()), name


def test_openai_clients_may_send_what_is_ignored() -> None:
    properties = DOCUMENT["components"]["schemas"]["ChatMessage"]["properties"]
    assert properties["annotations"] == {"description": "Ignored."}
    assert "extra_content" in properties
    assert "provider_data" not in properties
    assert DOCUMENT["components"]["schemas"]["ChatCompletionBody"]["properties"]["n"]["enum"] == [
        1,
        None,
    ]


def test_answer_with_the_status_of_an_error_is_documented() -> None:
    response = DOCUMENT["paths"]["/readyz"]["get"]["responses"]["503"]
    assert set(response["content"]) == {"application/json", "application/problem+json"}


@pytest.mark.parametrize(("path", "body"), list(examples()))
async def test_examples_of_bodies_are_answered(service: Service, path: str, body: object) -> None:
    answer = await service.client.post(path, json=body)
    assert answer.is_success, answer.text
    documented = DOCUMENT["paths"][path]["post"]["responses"][str(answer.status_code)]
    assert answer.headers["content-type"].partition(";")[0] in documented["content"]


@pytest.mark.parametrize("path", ["/stream-ai", "/api/chat"])
async def test_documented_formats_are_those_accepted(service: Service, path: str) -> None:
    method, operation = next(iter(DOCUMENT["paths"][path].items()))
    answer = await service.client.request(method, path, params={"format": "x", "prompt": "hi"})
    accepted = answer.text.partition("accepted: ")[2].partition(".")[0]
    documented = next(it for it in operation["parameters"] if it["name"] == "format")
    assert documented["schema"]["enum"] == accepted.split(", ")


async def test_document_is_served(service: Service) -> None:
    for _ in range(2):
        answer = await service.client.get("/openapi.json")
        assert answer.json() == DOCUMENT
        assert answer.headers["content-type"] == "application/json"


async def test_document_names_the_path_that_a_proxy_publishes(serve: Serve) -> None:
    service = await serve(Settings(server=ServerSettings(root_path="/llm")))
    answer = await service.client.get("/openapi.json")
    assert answer.json()["servers"] == [{"url": "/llm"}]
