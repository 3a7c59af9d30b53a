"""Event streams, from bytes to the payloads of their `data` fields.

This runs for every token, so it is our own code: it splits bytes into lines, and decodes nothing. The
rules are those of the HTML Living Standard, section 9.2.6 (server-sent events, interpreting an event stream).
A client that never reconnects has no use for ids, reconnection times and names, so they are skipped, except
for the name `error`: some servers mark a block as an error this way, and others have a field of that name
(llama.cpp). Both become a payload `{"error": …}`. Bare JSON between the blocks, on one line or several, is
a payload, too: Gemini's errors may arrive like that.
"""

import codecs
import json
from collections.abc import Iterable, Iterator

import msgspec

from streamsvc.providers.http.errors import LineTooLong

# Numbers, because `in` with bytes of length one raises and swallows an exception each time (CPython 3.11).
CR, LF = b"\r\n"


class EventStreamDecoder:
    """Splits an event stream into payloads, whatever the sizes of the chunks it is fed.

    Args:
        max_line_bytes: limit on a line, and on all lines of a block together. It limits the memory that one
            upstream can occupy.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_data_bytes",
        "_is_between_blocks",
        "_is_error",
        "_is_first_line",
        "_is_json",
        "_max_line_bytes",
        "_rest",
        "_rest_bytes",
    )

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._after_cr = False
        self._is_first_line = True
        self._is_between_blocks = False
        self._is_error = False
        self._is_json = False

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Yield the payload of each block that *chunk* completes. Consume them all before feeding the next chunk.

        Raises:
            LineTooLong: a line exceeds the limit; raised after the payloads before it.
        """
        # The fast path: servers nearly always send whole blocks of one `data` line each.
        is_whole = self._is_between_blocks and chunk.endswith(b"\n\n") and CR not in chunk
        if not is_whole or len(chunk) > self._max_line_bytes:
            return self._cut(chunk)
        payloads: list[bytes] = []
        for block in chunk[:-2].split(b"\n\n"):
            if not block.startswith(b"data: ") or LF in block:
                return self._cut(chunk)
            payloads.append(block[6:])
        return payloads

    def flush(self) -> Iterable[bytes]:
        """Yield the payload of a last block that lacks its blank line; for a body that ended normally.

        The standard drops such a block, but if a server forgets the blank line, the block has the end of its answer.
        """
        return self._cut(b"\n\n")

    def _cut(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the payloads line by line: all the rules, wherever the chunks are split."""
        bound = self._max_line_bytes
        for line in self._lines(chunk):
            if self._data_bytes + len(line) > bound:
                raise LineTooLong
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
                self._data_bytes += len(line)
            elif not line:
                if self._data or self._is_error:
                    yield self._end_block()
            else:
                self._take_other(line)
        if self._data_bytes + self._rest_bytes > bound:
            raise LineTooLong
        is_within = self._data or self._is_error or self._rest_bytes or self._after_cr
        self._is_between_blocks = not is_within

    def _end_block(self) -> bytes:
        """Return the payload of a block and begin the next one."""
        said = b"\n".join(self._data)
        payload = _in_envelope(said) if self._is_error else said
        self._data.clear()
        self._data_bytes = 0
        self._is_error = self._is_json = False
        return payload

    def _take_other(self, line: bytes) -> None:
        """Take a line that marks the block as an error, or is JSON; skip all other lines."""
        if line.startswith(b"event:"):
            self._is_error = line[6:].strip() == b"error"
            return
        if line.startswith(b"error:"):
            self._is_error = True
            line = line[6:]
        elif self._is_json or line.startswith((b"{", b"[")):
            self._is_json = True
        else:
            return
        self._data.append(line)
        self._data_bytes += len(line)

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Return the lines that *chunk* completes, and keep the rest."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        if CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if lines and self._rest:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest.clear()
            self._rest_bytes = 0
        if lines and self._is_first_line:
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
            self._is_first_line = False
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        return lines


def _in_envelope(said: bytes) -> bytes:
    """Return an error, which is JSON or text, as a payload `{"error": …}`."""
    said = said.strip()
    try:
        says_something = bool(msgspec.json.decode(said))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        says_something = bool(said)
        said = json.dumps(said.decode(errors="replace")).encode()
    return b'{"error":%b}' % (said if says_something else b"true")
