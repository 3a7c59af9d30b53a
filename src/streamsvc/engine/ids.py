"""The ids of generations: unguessable, and each belongs to one principal.

An id says whose it is, so that nothing has to be looked up, wherever the generation runs and after it has ended: its
last characters are a hash of the others and the principal's name. The hash needs no secret: an id of another principal
cannot be made to match, because a changed id names nothing.
"""

import base64
import hashlib
import hmac
import os

from streamsvc.errors import GenerationNotFound

ID_PREFIX = "gen_"
ID_PATTERN = ID_PREFIX + "[a-z2-7]{32}"
"""Matches what `new_id` returns."""

_RANDOM_BYTES = 15
_TAG_BYTES = 5
_TAG_CHARS = 8


def new_id(principal: str = "", mark: str = "") -> str:
    """Return a new id: 120 random bits and a tag of 40, as letters and digits (RFC 4648, section 6, lower case).

    Args:
        principal: whose it is.
        mark: takes the place of the first random characters.
    """
    random = mark + _text(os.urandom(_RANDOM_BYTES))[len(mark) :]
    return ID_PREFIX + random + _tag(random, principal)


def check_owner(generation: str, principal: str) -> None:
    """Answer for a generation of another principal as for one that does not exist.

    Raises:
        GenerationNotFound: it is not an id, or not one of this principal.
    """
    random, tag = generation[len(ID_PREFIX) : -_TAG_CHARS], generation[-_TAG_CHARS:]
    if not hmac.compare_digest(tag.encode(errors="replace"), _tag(random, principal).encode()):
        raise GenerationNotFound


def scoped(principal: str, name: str) -> str:
    """Return the name of an idempotency key or a chat among those of all principals.

    The name of a principal has no NUL (`guard`), so that no two of them can have the same result.
    """
    return f"{principal}\0{name}"


def _tag(random: str, principal: str) -> str:
    named = f"{random}\0{principal}".encode("utf-8", "surrogatepass")
    return _text(hashlib.sha256(named).digest()[:_TAG_BYTES])


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().lower()
