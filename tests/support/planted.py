"""Secrets to plant in requests and in an upstream's answers, and the places to search for them.

Each is a word of its own, so that a find says what leaked. Credentials may be nowhere. Contents may be where the
design keeps them: in the request and the log of their own generation.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from streamsvc.messages import ToolCall
from support.redis_servers import RedisServer
from support.upstreams import (
    DONE,
    EMPTY,
    HOLD,
    RESET,
    Call,
    Script,
    calling,
    finish,
    frame,
    raw,
    reasoning,
    status,
    text,
)

CARRIERS = ("bearer", "x-api-key", "api-key", "cookie")
TRACE = "0af7651916cd43dd8448eb211c80319c"
"""The trace of all requests, so that each has spans."""

KEYS = {
    name: f"ssk_{name}_{'planted7q' + name.replace('-', ''):q<32}" for name in (*CARRIERS, "rival")
}
"""API keys of a principal, one for each carrier, and one of another principal."""

CREDENTIALS = {
    **KEYS,
    "wrong": f"ssk_wrong_{'planted7qwrong':q<32}",
    "jwt": "eyJwbGFudGVkIjoiand0In0.eyJwbGFudGVkIjoiand0In0.cGxhbnRlZC1qd3Q",
    "upstream": "planted-upstream-key-q7xk",
    "backup": "planted-backup-key-q7xk",
    "redis": "planted-redis-password-q7xk",
    "collector": "planted-collector-key-q7xk",
    "agent": "planted-user-agent-q7xk",
    "referer": "planted-referer-q7xk",
    "own": "planted-own-header-q7xk",
    "tracestate": "planted-tracestate-q7xk",
    "baggage": "planted-baggage-q7xk",
    "traceparent": "planted-rest-of-a-traceparent-q7xk",
    "address": "203.0.113.177",
    "echo": "planted-words-of-an-error-q7xk",
}
"""What nobody may see: no log, no response, no store."""

CONTENTS = {
    "prompt": "planted-prompt-q7xk",
    "system": "planted-system-q7xk",
    "answer": "planted-answer-q7xk",
    "thought": "planted-thought-q7xk",
    "arguments": "planted-arguments-q7xk",
    "metadata": "planted-metadata-q7xk",
    "user": "planted-user-q7xk",
    "tool": "planted-tool-description-q7xk",
    "image": "cGxhbnRlZC1pbWFnZS1xN3hr",
    "chat": "planted-chat-q7xk",
    "key": "planted-idempotency-key-q7xk",
    "query": "planted-query-q7xk",
}
"""What nobody else may see: no log, no error, nothing about the service."""

REQUESTED = {"prompt", "system", "metadata", "user", "tool", "image"}
ANSWERED = {"answer", "thought", "arguments", "metadata"}

ECHO = " ".join((*CREDENTIALS.values(), CONTENTS["prompt"], CONTENTS["answer"]))
"""What an upstream repeats in its errors."""

_FIELDS_OF = {
    "bearer": ("Authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "api-key": ("api-key", ""),
    "cookie": ("Cookie", f"jwt={CREDENTIALS['jwt']}; __Host-streamsvc="),
}


def headers(carrier: str = "bearer", key: str = "") -> dict[str, str]:
    """Return headers full of secrets.

    Args:
        carrier: of the key.
        key: the key; that of the carrier if not given.
    """
    field, before = _FIELDS_OF[carrier]
    return {
        field: f"{before}{key or KEYS[carrier]}",
        "User-Agent": CREDENTIALS["agent"],
        "Referer": f"http://localhost/{CREDENTIALS['referer']}",
        "X-Own": CREDENTIALS["own"],
        "X-Forwarded-For": CREDENTIALS["address"],
        "traceparent": f"01-{TRACE}-b7ad6b7169203331-01-{CREDENTIALS['traceparent']}",
        "tracestate": f"vendor={CREDENTIALS['tracestate']}",
        "baggage": f"user={CREDENTIALS['baggage']}",
        "Sec-Fetch-Site": "same-origin",
    }


_CALL = ToolCall(id="call_1", name="look_up", arguments=json.dumps({"q": CONTENTS["arguments"]}))
_ERROR = {"error": {"message": ECHO, "code": ECHO, "type": ECHO, "param": ECHO, "details": [ECHO]}}
_FIELDS = {"x-request-id": CREDENTIALS["echo"], "X-Echo": ECHO, "Retry-After": "0"}
_WELL: Script = (
    reasoning(CONTENTS["thought"]),
    text(CONTENTS["answer"], " Fine."),
    calling(_CALL, reason="tool_calls"),
    finish("tool_calls"),
)

SCRIPTS: Mapping[str, Script] = {
    "well": _WELL,
    "bad": (status(400, _ERROR, _FIELDS),),
    "denied": (status(401, _ERROR, _FIELDS),),
    "filtered": (status(400, {"error": {"message": ECHO, "code": "content_filter"}}),),
    "missing": (status(404, _ERROR, _FIELDS),),
    "busy": (status(429, _ERROR, _FIELDS),),
    "down": (status(500, ECHO.encode(), {"Content-Type": f"text/html; charset={ECHO[:20]}"}),),
    "moved": (status(302, b"", {"Location": f"http://127.0.0.1:1/{CREDENTIALS['echo']}"}),),
    "garbage": (raw(f"data: {{{ECHO}\n\n".encode()),),
    "late": (EMPTY, raw(b"data: " + json.dumps(_ERROR).encode() + b"\n\n")),
    "named": (*_WELL[:-1], raw(frame({"model": ECHO, "choices": []})), raw(DONE)),
    "cut": (text(CONTENTS["answer"]), RESET),
    "hold": (text(CONTENTS["answer"]), HOLD),
}
"""What the upstream does, by the word after `mode=` in the prompt."""

FAILING = ("bad", "denied", "filtered", "missing", "busy", "down", "moved", "garbage", "late")
"""Those that give no answer."""


def chosen(call: Call) -> Script:
    """Return the script that a request asks for."""
    found = re.search(r"mode=(\w+)", json.dumps(call.body))
    return SCRIPTS[found[1]] if found else _WELL


def found_in(where: str | bytes, secrets: Mapping[str, str]) -> set[str]:
    """Return the names of the secrets in a text."""
    seen = where if isinstance(where, bytes) else where.encode()
    return {name for name, secret in secrets.items() if secret.encode() in seen}


def dump(server: RedisServer) -> dict[bytes, bytes]:
    """Return everything in a Redis server: names of keys, and their values as bytes."""
    return {key: repr(_value(server, key)).encode() for key in server.command("KEYS", "*")}


def _value(server: RedisServer, key: bytes) -> Any:
    kind = server.command("TYPE", key)
    read: Mapping[bytes, tuple[str | int, ...]] = {
        b"string": ("GET",),
        b"hash": ("HGETALL",),
        b"stream": ("XRANGE", "-", "+"),
        b"set": ("SMEMBERS",),
        b"zset": ("ZRANGE", 0, -1),
        b"list": ("LRANGE", 0, -1),
        b"none": ("EXISTS",),  # it has just expired
    }
    command, *arguments = read[kind]
    return server.command(command, key, *arguments)
