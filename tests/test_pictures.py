"""The picture of the README is small, and it moves; `uv run just film` renews it."""

from pathlib import Path

from support.webp import Frame, animated, chunks_of

DOCS = Path(__file__).parents[1] / "docs"


def test_picture_is_small_and_moves() -> None:
    moving = (DOCS / "playground.webp").read_bytes()
    assert len(moving) < 400_000
    names = [name for name, _ in chunks_of(moving)]
    assert names[:2] == [b"VP8X", b"ANIM"]
    assert set(names[2:]) == {b"ANMF"}
    assert len(names) > 20


def test_animation_has_its_frames_where_they_belong() -> None:
    """The layout of the WebP Container Specification: sizes less one, places halved, in 24 bits."""
    still = b"RIFF\x0f\0\0\0WEBPVP8 \x03\0\0\0abc\0"
    frame = Frame(image=still, left=4, top=6, width=300, height=2, milliseconds=125)
    (size, canvas), (_, loop), (_, placed) = chunks_of(animated(320, 200, [frame]))
    assert (size, canvas) == (b"VP8X", b"\x02\0\0\0\x3f\x01\0\xc7\0\0")
    assert loop == b"\xff\xff\xff\xff\0\0"
    assert placed == b"\x02\0\0\x03\0\0\x2b\x01\0\x01\0\0\x7d\0\0\x02VP8 \x03\0\0\0abc\0"
