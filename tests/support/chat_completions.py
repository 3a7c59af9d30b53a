"""Helpers for tests of `POST /v1/chat/completions`: ask, read the answer, check an error."""

import json
from collections.abc import Mapping
from typing import Any

from streamsvc.config.provider_settings import FakeSettings, OpenAISettings
from streamsvc.config.settings import LimitSettings, Settings, StreamSettings
from support.asking import fetch
from support.eventstream import Answer
from support.service import Service
from support.upstreams import OPENAI, Upstream

CREATE = "/v1/chat/completions"
HURRIED = FakeSettings(words_per_second=0, first_word_seconds=0, text="One two three.")
TURN = {"role": "user", "content": "hi"}
ASKED = {"model": "fake", "messages": [TURN]}
STREAMED = json.dumps({**ASKED, "stream": True}).encode()

BOUNDED = Settings(
    providers={
        "fake": HURRIED,
        "a/b": HURRIED,
        "keyless": OpenAISettings(model="gpt-test", api_key_env="NO_SUCH_KEY"),
    },
    limits=LimitSettings(max_body_bytes=20_000, max_prompt_chars=1000),
)
"""A service with small limits; one of its entries has no key."""


def asking(api: Upstream, **stream: Any) -> Settings:
    """Return settings whose entry `fake` is the scripted upstream."""
    entry = OPENAI.entry(api.url, attempts=1)
    return Settings(providers={"fake": entry}, stream=StreamSettings(**stream))


async def post(
    service: Service, body: object, headers: Mapping[str, str] | None = None, target: str = CREATE
) -> tuple[Answer, Any]:
    """Ask, and read the answer to its end; a JSON body is decoded, any other is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await fetch(service.port, target, method="POST", headers=headers, body=raw)
    content = bytes(answer.raw)
    is_json = answer.headers["content-type"] == "application/json"
    return answer, json.loads(content) if is_json else content


def assert_is_error(
    answer: Answer, body: Any, status: int, param: str | None, code: str = "invalid_field"
) -> None:
    """Check an error object of OpenAI's API."""
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert (answer.status, body["error"]["param"], body["error"]["code"]) == (status, param, code)
    assert body["error"]["message"][0].isupper()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def chunks(raw: bytes) -> list[Any]:
    """Return the JSON objects of a stream."""
    lines = [line for line in raw.decode().split("\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]
