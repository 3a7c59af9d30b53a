"""Codes and names that upstreams send: compared regardless of their spelling, and let through only if they are names."""

import re

_SEPARATORS = re.compile(r"[^a-z0-9]+")

_MODEL = re.compile(r"[\w./:@+~-]{1,256}", re.ASCII)


def bare(word: str) -> str:
    """Return *word* in lower case, letters and digits only: `MAX_TOKENS`, `maxTokens` and `max-tokens` are equal."""
    return _SEPARATORS.sub("", word.lower())


def model_name(given: str | None) -> str | None:
    """Return the name of a model as an upstream sends it; None if it is anything else than a name.

    It gets into log lines, spans and the answers of clients, so an upstream must not be able to put a prompt there.
    """
    return given if given and _MODEL.fullmatch(given) else None
