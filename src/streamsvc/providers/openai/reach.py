"""Whether a server that speaks OpenAI's API takes the key and knows the model, without spending tokens.

`GET /models/{model}` says both at OpenAI and at Ollama (platform.openai.com/docs/api-reference/models). Other servers
only have `GET /models`, or neither: then an empty request for a chat completion, which every server refuses, still
shows whether the URL and the key are right.
"""

from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from streamsvc.config.provider_settings import UpstreamSection
from streamsvc.provider_errors import (
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderRefused,
)
from streamsvc.providers.error_mapping import error_for_answer
from streamsvc.providers.http.probe import Probe, Reply

_UNKNOWN_PATH = frozenset((404, 405, 501))


class _Model(msgspec.Struct):
    id: str = ""


class _Models(msgspec.Struct):
    data: list[_Model]


async def ask(probe: Probe, section: UpstreamSection, key: str) -> str:
    """See `AskForFree`."""
    base = section.url.rstrip("/")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= {"Accept": "application/json", "Accept-Encoding": "identity"}

    async def send(method: str, path: str, **body: Any) -> Reply:
        return await probe.ask(httpx2.Request(method, f"{base}{path}", headers=headers, **body))

    reply = await send("GET", f"/models/{quote(section.model, safe='')}")
    if reply.status not in _UNKNOWN_PATH:
        return _judged(reply)
    refusal = _error(reply)
    listed = await send("GET", "/models")
    if listed.status not in _UNKNOWN_PATH:
        return _judged_list(listed, section.model, refusal)
    if _names_model(reply):
        raise refusal
    created = await send("POST", "/chat/completions", json={})
    if created.status in _UNKNOWN_PATH:
        raise ProviderMisconfigured
    if not isinstance(error := _error(created), ProviderRefused):
        raise error
    return "the server lists no models, so the model was not checked"


def _judged(reply: Reply) -> str:
    """Judge the description of the model."""
    if not 200 <= reply.status < 300:  # noqa: PLR2004  # a success
        raise _error(reply)
    try:
        msgspec.json.decode(reply.body, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise ProviderMisconfigured from exc  # a web page, for example
    return ""


def _judged_list(reply: Reply, model: str, refusal: ProviderError) -> str:
    """Judge the list of models.

    Raises:
        ProviderError: the list was refused, is something else, or lacks the model.
    """
    _judged(reply)
    try:
        models = msgspec.json.decode(reply.body, type=_Models)
    except msgspec.DecodeError:
        return "the server's list of models cannot be read, so the model was not checked"
    if any(it.id == model for it in models.data):
        return ""
    raise ProviderModelNotFound from refusal


def _error(reply: Reply) -> ProviderError:
    return error_for_answer(reply.status, reply.body, reply.headers)


def _names_model(reply: Reply) -> bool:
    """Return whether a 404 is about the model, and not about the path."""
    return b"model" in reply.body.lower() and isinstance(_error(reply), ProviderModelNotFound)
