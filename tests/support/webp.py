"""An animated WebP from still ones (WebP Container Specification, "Animation").

A browser writes still pictures; this joins them into one file, so that no other tool is needed.
"""

import struct
from collections.abc import Iterable, Iterator

import msgspec

_ANIMATION = 0x02
_DO_NOT_BLEND = 0x02


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that replaces a part of the one before.

    Attributes:
        image: a still WebP without alpha.
        left, top: where it goes, in pixels; both are even.
        width, height: of the picture, in pixels.
        milliseconds: how long it is shown.
    """

    image: bytes
    left: int
    top: int
    width: int
    height: int
    milliseconds: int


def animated(width: int, height: int, frames: Iterable[Frame]) -> bytes:
    """Return an animation that is repeated forever.

    Args:
        width: of all of it, in pixels.
        height: likewise.
        frames: in order; the first one covers everything.
    """
    size = bytes((_ANIMATION, 0, 0, 0)) + _u24(width - 1) + _u24(height - 1)
    chunks = [_chunk(b"VP8X", size), _chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, 0))]
    chunks += [_chunk(b"ANMF", _placed(frame)) for frame in frames]
    return _riff(b"".join(chunks))


def chunks_of(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the data of each chunk.

    Raises:
        ValueError: it is no WebP.
    """
    if image[:4] != b"RIFF" or image[8:12] != b"WEBP":
        raise ValueError("no WebP")
    at = 12
    while at < len(image):
        name, (length,) = image[at : at + 4], struct.unpack("<I", image[at + 4 : at + 8])
        yield name, image[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _placed(frame: Frame) -> bytes:
    place = b"".join(
        map(_u24, (frame.left // 2, frame.top // 2, frame.width - 1, frame.height - 1))
    )
    picture = next(_chunk(name, data) for name, data in chunks_of(frame.image) if name == b"VP8 ")
    return place + _u24(frame.milliseconds) + bytes((_DO_NOT_BLEND,)) + picture


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _u24(number: int) -> bytes:
    return number.to_bytes(3, "little")
