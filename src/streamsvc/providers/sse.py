"""Event streams of upstreams, from bytes to the payloads of their `data` fields.

Reading them is what the service does for each token, so this is our own: lines are found and cut in
bytes, and nothing is decoded here. The rules are those of the HTML Living Standard, section 9.2.6
(server-sent events, interpreting an event stream); names, ids and reconnection times are of no use
to a client that never reconnects, and are skipped.
"""

from collections.abc import Iterator

from streamsvc.errors import UpstreamInvalid


class EventStreamDecoder:
    """Cuts an event stream into payloads, whatever the sizes of the chunks it is fed.

    Args:
        max_line_bytes: a longer line is an error; it bounds what one upstream can hold in memory.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the payload of each block that *chunk* completes.

        Raises:
            UpstreamInvalid: a line is longer than the bound.
        """
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > self._max_line_bytes:
            raise UpstreamInvalid
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data:
                payload = b"\n".join(self._data)
                self._data.clear()
                yield payload
