"""Codes and names, compared regardless of their spelling."""

import re

_SEPARATORS = re.compile(r"[^a-z0-9]+")


def bare(word: str) -> str:
    """Return *word* in lower case, letters and digits only: `MAX_TOKENS`, `maxTokens` and `max-tokens` are equal."""
    return _SEPARATORS.sub("", word.lower())
