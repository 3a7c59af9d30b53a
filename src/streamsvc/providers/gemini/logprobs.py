"""How likely Gemini's tokens were, in OpenAI's shape.

From google-genai, `types.LogprobsResult`, to the openai SDK, `types/chat/chat_completion_token_logprob.py`.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from streamsvc.providers import lenient
from streamsvc.providers.base import whole

_NEVER = -9999.0
"""What OpenAI's API says of a token outside of the likeliest ones."""


def logprobs(result: object) -> tuple[Mapping[str, Any], ...]:
    """Return one object for each token of a chunk; what cannot be read is left out."""
    fields = next(lenient.objects(result), {})
    alternatives: Iterable[Mapping[str, Any]] = lenient.objects(fields.get("topCandidates"))
    tokens = []
    for chosen, top in zip_longest(lenient.objects(fields.get("chosenCandidates")), alternatives):
        if chosen is None:
            break
        others = lenient.objects(top.get("candidates")) if top else ()
        tokens.append({**_token(chosen), "top_logprobs": [_token(it) for it in others]})
    return tuple(tokens)


def _token(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """Return a token (`types.LogprobsResultCandidate`); ProtoJSON leaves out a logarithm of 0, which is certain."""
    token = candidate.get("token")
    text = whole(token) if isinstance(token, str) else ""
    value = candidate.get("logProbability", 0.0)
    is_known = isinstance(value, int | float) and math.isfinite(value)
    return {
        "token": text,
        "logprob": float(value) if is_known else _NEVER,
        "bytes": list(text.encode()),
    }
