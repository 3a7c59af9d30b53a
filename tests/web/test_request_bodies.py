"""Bodies that cannot be read, in every dialect: what the refusal says."""

import gzip
import json
import logging
from collections.abc import Mapping

import pytest

from support.conversations import CHAT, ECHO, ENDPOINTS, NATIVE, UI, conversation, post, sentence
from support.service import Service
from support.shared import shared_service

service = shared_service(ECHO)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"x":' * 50_000,
        b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"messages":[{"role":"user","parts":[{"type":"text","x":' + b'{"a":' * 50_000,
        b'{"model":"fake","messages":[{"role":"user","content":' + b"[" * 100_000,
        b'{"metadata":{"a":' + b"[" * 100_000,
    ],
)
async def test_deep_nesting_is_refused_and_crashes_nothing(
    service: Service, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await post(service, path, body)
    assert answer.status in {400, 422}
    assert sentence(answer)[0].isupper()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.promise("input:clear-error")
async def test_deep_nesting_is_named_as_the_cause(service: Service) -> None:
    answer = await post(service, CHAT, b'{"x":' + b"[" * 100_000)
    assert (answer.status, sentence(answer)) == (400, "The body is nested too deeply.")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "The body is empty, but must be JSON."),
        (b"{", "The body is not JSON: it ends too early, at line 1, column 2."),
        (b'{\n  "system": "a",\n}', "trailing comma in object at line 3, column 1."),
        ('{"system": "é",\n "system": é}'.encode(), "invalid character at line 2, column 12."),
        (b"{'system': 'a'}", "strings and names need double quotes at line 1, column 2."),
        (b'{"system": NaN}', "invalid character at line 1, column 12."),
        (b'{"system": "a\nb"}', "invalid character at line 1, column 14."),
        (b'{"system":\n "a\xff"}', "The body is not UTF-8 at line 2, column 4."),
        (b'{"system": "\xed\xa0\xbd"}', "The body is not UTF-8 at line 1, column 13."),
        ('{"id": "a"}'.encode("utf-16"), "The body is not UTF-8 at line 1, column 1."),
    ],
)
async def test_broken_json_is_refused_with_line_and_column(
    service: Service, path: str, body: bytes, why: str
) -> None:
    answer = await post(service, path, body)
    assert answer.status == 400
    assert sentence(answer).endswith(why)


@pytest.mark.promise("input:clear-error")
async def test_data_after_the_json_is_refused_with_its_position(service: Service) -> None:
    answer = await post(service, CHAT, b'{"model":\n "fake"} {}')
    assert sentence(answer).endswith("trailing characters at line 2, column 10.")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        (
            "application/x-www-form-urlencoded",
            "; its Content-Type is application/x-www-form-urlencoded.",
        ),
        ("multipart/form-data; boundary=x", "; its Content-Type is multipart/form-data."),
        ("text/plain;charset=UTF-8", "; its Content-Type is text/plain."),
        ("application/json", " column 1."),
        ("application/problem+json; charset=utf-8", " column 1."),
        ("<b>nonsense</b>", " column 1."),
        ("", " column 1."),
    ],
)
async def test_body_that_is_not_json_is_named_by_its_type(
    service: Service, content_type: str, named: str
) -> None:
    answer = await post(service, NATIVE, b"prompt=hi", {"Content-Type": content_type})
    assert answer.status == 400
    assert sentence(answer).endswith(named)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "gzip, br"]
)
async def test_compressed_body_is_415(service: Service, path: str, encoding: str) -> None:
    """Also when the header says so and the body is plain."""
    for body in (gzip.compress(b'{"prompt": "hi"}'), b'{"prompt": "hi"}'):
        answer = await post(service, path, body, {"Content-Encoding": encoding})
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
        assert "Content-Encoding" in sentence(answer)


async def test_gzip_body_without_the_header_is_415(service: Service) -> None:
    assert (await post(service, NATIVE, gzip.compress(b'{"prompt": "hi"}'))).status == 415


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_identity_encoding_is_accepted(service: Service, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    assert (await post(service, NATIVE, b'{"prompt": "hi"}', headers)).status == 201


@pytest.mark.promise("input:clear-error")
async def test_refusal_of_a_large_body_names_the_setting(service: Service) -> None:
    for body, setting in (
        (b" " * 400_001, "limits.max_body_bytes"),
        (json.dumps({"prompt": "x" * 1001}).encode(), "limits.max_prompt_chars"),
    ):
        answer = await post(service, NATIVE, body)
        assert answer.status == 413
        assert f"({setting})." in sentence(answer)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("path", "field", "value", "hint"),
    [
        (NATIVE, "model", "fake", "here it is 'provider'"),
        (NATIVE, "stream", True, "Accept: text/event-stream"),
        (NATIVE, "max_completion_tokens", 5, "'max_tokens'"),
        (NATIVE, "promt", "hi", "did you mean 'prompt'?"),
        (NATIVE, "temprature", 1, "did you mean 'temperature'?"),
        (NATIVE, "functions", [], "Unknown field 'functions'."),
        (CHAT, "max_token", 5, "did you mean 'max_tokens'?"),
        (CHAT, "functions", [{}], "Unsupported parameter: 'functions'; use 'tools'."),
        (CHAT, "top_pp", 0.5, "did you mean 'top_p'?"),
        (CHAT, "n", 2, "Unsupported parameter: 'n'; accepted: 1."),
        (CHAT, "modalities", ["audio"], """Unsupported parameter: 'modalities'; accepted: ["text"]."""),
        (CHAT, "web_search_options", {}, "Unsupported parameter: 'web_search_options'"),
        (UI, "model", "fake", "here it is 'provider'"),
        (UI, "x" * 5000, 1, "x…'."),
    ],
)  # fmt: skip
async def test_unknown_field_is_named_with_a_hint(
    service: Service, path: str, field: str, value: object, hint: str
) -> None:
    body = conversation(path, ("user", "hi")) | {field: value}
    answer = await post(service, path, json.dumps(body).encode())
    assert answer.status in {400, 422}
    assert hint in sentence(answer)
    assert len(sentence(answer)) < 200


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("path", "body", "hint"),
    [
        (NATIVE, {"messages": [{"role": "user", "contents": "hi"}]}, "field 'messages[0].contents'; did you mean 'content'?"),
        (CHAT, {"messages": [{"role": "user", "contents": "hi"}]}, "parameter: 'messages[0].contents'; did you mean 'content'?"),
        (NATIVE, {"prompt": "hi", "tools": [{"name": "f"}]}, "field 'tools[0].name'; accepted: function, type."),
        (
            NATIVE,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"href": "x"}}]}]},
            "field 'messages[0].content[0].image_url.href'; accepted: detail, url.",
        ),
        (NATIVE, {"prompt": "hi", "response_format": {"type": "json_schema", "schema": {}}}, "accepted: json_schema, type."),
    ],
)  # fmt: skip
async def test_unknown_field_inside_another_gets_a_hint(
    service: Service, path: str, body: Mapping[str, object], hint: str
) -> None:
    answer = await post(service, path, json.dumps(body).encode())
    assert answer.status in {400, 422}
    assert hint in sentence(answer)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", b"1e999"), ("x", b"[1, -1e999]"), ("metadata", b'{"a": 1e999}')],
)
async def test_number_out_of_range_names_its_field(
    service: Service, name: str, value: bytes
) -> None:
    answer = await post(service, CHAT, b'{"model": "fake", "%b": %b}' % (name.encode(), value))
    assert answer.status == 400
    assert f"'{name}" in sentence(answer)
    assert sentence(answer).endswith(": number out of range.")


@pytest.mark.parametrize("rest", [b"[" * 100_000, b'"\\ud83d"', b"}", b'"\xff"', b"'"])
async def test_number_out_of_range_in_broken_json_crashes_nothing(
    service: Service, rest: bytes
) -> None:
    answer = await post(service, CHAT, b'{"temperature": 1e999, "x": ' + rest)
    assert answer.status == 400
    assert sentence(answer)[0].isupper()
