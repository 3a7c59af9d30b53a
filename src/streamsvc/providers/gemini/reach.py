"""Whether Gemini's API takes the key and knows the model, without spending tokens: `models.get`.

ai.google.dev/api/models#method:-models.get; a wrong key is a 400 there.
"""

from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from streamsvc.config.provider_settings import UpstreamSection
from streamsvc.provider_errors import ProviderMisconfigured
from streamsvc.providers.error_mapping import error_for_answer
from streamsvc.providers.gemini.models import address, bare_model
from streamsvc.providers.http.probe import Probe


async def ask(probe: Probe, section: UpstreamSection, key: str) -> str:
    """See `AskForFree`."""
    root, version = address(section.url)
    url = f"{root.rstrip('/')}/{version}/models/{quote(bare_model(section.model), safe='')}"
    headers = {"x-goog-api-key": key} if key else {}
    headers |= {"Accept": "application/json", "Accept-Encoding": "identity"}
    reply = await probe.ask(httpx2.Request("GET", url, headers=headers))
    if not 200 <= reply.status < 300:  # noqa: PLR2004  # a success
        raise error_for_answer(reply.status, reply.body, reply.headers)
    try:
        msgspec.json.decode(reply.body, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise ProviderMisconfigured from exc  # a web page, for example
    return ""
