"""What every HTTP adapter does with a response: read its answer, or find out why there is none."""

from collections.abc import Callable, Mapping

from streamsvc.provider_errors import UpstreamInvalid
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.body import BodyReader
from streamsvc.providers.http.exchange import Exchange, Read, drain, read_bounded

REFUSAL_BYTES = 65_536
REFUSAL_SECONDS = 2.0
"""How much of an error's body is read, and for how long; its status says most."""

_COMPRESSIONS = frozenset(
    ("gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz")
)
"""The content codings of IANA's registry that change bytes. Some servers put `utf-8` there, or nothing."""

REUSE_SECONDS = 0.1
"""How long to wait for the body of a complete answer to end, so that its connection can be reused."""


def body_reader(
    headers: Mapping[str, str],
    answer: AnswerSoFar,
    take_chunk: Callable[[bytes], None],
    *,
    max_bytes: int,
) -> BodyReader:
    """Return the reader for the body of a successful response.

    Args:
        headers: of the response, names in lower case.
        answer: collects the contents of the chunks.
        take_chunk: reads the JSON of one chunk into *answer*.
        max_bytes: limit on a line of an event stream, and on a body that is JSON.

    Raises:
        UpstreamInvalid: the body is compressed, although the request declined that.
    """
    codings = headers.get("content-encoding", "").lower().split(",")
    if not _COMPRESSIONS.isdisjoint(map(str.strip, codings)):
        raise UpstreamInvalid
    content_type = headers.get("content-type", "")
    return BodyReader(answer, take_chunk, content_type=content_type, max_bytes=max_bytes)


async def read_refusal(read: Read) -> bytes:
    """Return the body of an error response, up to the limits; a body that breaks off just ends."""
    return await read_bounded(read, max_bytes=REFUSAL_BYTES, seconds=REFUSAL_SECONDS)


async def drain_for_reuse(exchange: Exchange) -> None:
    """Wait briefly for the end of a body whose answer is complete, so that its connection can be kept."""
    await drain(exchange, seconds=REUSE_SECONDS)
