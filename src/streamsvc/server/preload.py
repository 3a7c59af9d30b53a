"""What the way of an answer needs of the standard library, imported before the first request.

Python imports a codec when it is first used. With no descriptor left that fails, in the middle of an answer.
"""

import codecs

_CODECS = ("ascii", "idna", "latin-1", "utf-8", "utf-16-le", "utf-8-sig")


def preload() -> None:
    """Import it."""
    for name in _CODECS:
        codecs.lookup(name)
