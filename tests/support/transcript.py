"""Compares whole streams with readable files."""

import os
import re
from pathlib import Path

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"

BREAKS = "\n\N{BROKEN BAR} the connection breaks here, without an end of the transfer\n"


def assert_is_transcript(body: bytes, name: str, *, is_whole: bool = True) -> None:
    """Compare with a file of `tests/transcripts`, in which placeholders stand for values that change.

    With `WRITE_TRANSCRIPTS=1` write the file first.
    """
    body = re.sub(rb"gen_[a-z2-7]{32}", b"<generation>", body)
    body = re.sub(rb'"created":\d{10}\b', b'"created":<created>', body)
    transcript = body.decode() + ("" if is_whole else BREAKS)
    path = TRANSCRIPTS / f"{name}.txt"
    if os.environ.get("WRITE_TRANSCRIPTS"):
        path.write_bytes(transcript.encode())
    assert transcript == path.read_bytes().decode()
