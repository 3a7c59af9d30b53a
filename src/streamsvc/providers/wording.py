"""Words for programs, compared as every upstream spells them."""

import re

_SEPARATORS = re.compile(r"[^a-z0-9]+")


def bare(word: str) -> str:
    """Return *word* in small letters and digits only: `MAX_TOKENS`, `maxTokens` and `max-tokens` are one."""
    return _SEPARATORS.sub("", word.lower())
