"""The classes of the error tree."""

from collections.abc import Iterator
from typing import TypeVar

from streamsvc.errors import StreamsvcError

E = TypeVar("E", bound=StreamsvcError)


def classes(base: type[E]) -> Iterator[type[E]]:
    """Yield a class and everything below it."""
    yield base
    for kind in base.__subclasses__():
        yield from classes(kind)
