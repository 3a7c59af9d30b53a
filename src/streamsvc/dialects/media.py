"""Checks images and files in requests; nothing is fetched.

A data URL (RFC 2397) must be in base64, of an accepted type and size, and its data must be of that type.
"""

import re
from collections.abc import Mapping

import msgspec

from streamsvc.config.settings import LimitSettings
from streamsvc.dialects.invalid import refused
from streamsvc.dialects.shapes import FileData, ImageAddress
from streamsvc.errors import InvalidField, RequestTooLarge
from streamsvc.messages import FilePart, ImagePart

MAX_ADDRESS_CHARS = 8192

_IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
_SIGNATURES: Mapping[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "application/pdf": re.compile(rb".{0,1019}%PDF-", re.DOTALL),
}
"""How data of each type begins (WHATWG MIME Sniffing, section 6.1; ISO 32000, annex H)."""

_HEAD = re.compile(
    r"data:(?P<type>[\w.+-]{1,127}/[\w.+-]{1,127})(?P<rest>(?:;[^,]{0,200})?),",
    re.IGNORECASE | re.ASCII,
)
"""The head of a data URL. A name has a limit (RFC 6838, section 4.2), so that no long text is searched for its end."""

_HTTPS = re.compile(r"https://[^\s/?#@\x00-\x1f\x7f]+(?:[/?#][^\s\x00-\x1f\x7f]*)?", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,20}):", re.IGNORECASE)
_ALIASES = {"image/jpg": "image/jpeg"}


class Media:
    """Checks the images and files of one request.

    Args:
        limits: how many there may be, and how large each.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._count = 0

    def image(self, address: ImageAddress, field: str) -> ImagePart:
        """Return an image.

        Args:
            address: its address, as the client sent it.
            field: the path of the address in the body, for errors.

        Raises:
            InvalidField: the address is neither `https` nor a data URL of an image.
            RequestTooLarge: it is larger than `max_image_bytes`, or there are more than `max_images`.
        """
        self._one_more(field)
        url = address.url
        if url[:5].lower() != "data:":
            return ImagePart(url=_https(url, field), detail=address.detail)
        url = _data_url(
            url, field, types=_IMAGE_TYPES, limit=("max_image_bytes", self._limits.max_image_bytes)
        )
        return ImagePart(url=url, detail=address.detail)

    def file(self, file: FileData, field: str) -> FilePart:
        """Return a document.

        Raises:
            InvalidField: it has no data URL.
            RequestTooLarge: it is larger than `max_file_bytes`, or there are more than `max_images`.
        """
        if file.file_id is not None:
            raise refused(f"{field}.file_id", "files cannot be uploaded here; send 'file_data'")
        field = f"{field}.file_data"
        if file.file_data is None:
            raise InvalidField(f"The field {field!r} is missing.", field=field)
        self._one_more(field)
        limit = ("max_file_bytes", self._limits.max_file_bytes)
        url = _data_url(file.file_data, field, types=(), limit=limit)
        return FilePart(url=url, filename=file.filename or "")

    def _one_more(self, field: str) -> None:
        self._count += 1
        if self._count > self._limits.max_images:
            raise RequestTooLarge(
                f"The messages have more than {self._limits.max_images} images and files"
                " (limits.max_images).",
                field=field,
            )


def _https(url: str, field: str) -> str:
    if len(url) > MAX_ADDRESS_CHARS:
        raise refused(field, f"an address has at most {MAX_ADDRESS_CHARS} characters")
    if _HTTPS.fullmatch(url):
        return url
    scheme = _SCHEME.match(url)
    is_other = scheme is not None and scheme[1].lower() != "https"
    found = (
        f"the scheme '{scheme[1]}' is not supported" if scheme and is_other else "not an address"
    )
    raise refused(field, f"{found}; give an https address or a data URL in base64")


def _data_url(url: str, field: str, *, types: tuple[str, ...], limit: tuple[str, int]) -> str:
    """Check a data URL, and return its shortest form: `data:<type>;base64,<data>`."""
    head = _HEAD.match(url)
    if head is None or not head["rest"].lower().endswith(";base64"):
        raise refused(field, "give a data URL in base64, such as data:image/png;base64,…")
    media_type = head["type"].lower()
    media_type = _ALIASES.get(media_type, media_type)
    if types and media_type not in types:
        raise refused(field, f"{media_type} is not supported; accepted: {', '.join(types)}")
    data = url[head.end() :]
    content = _decoded(data, field, *limit)
    signature = _SIGNATURES.get(media_type)
    if signature and not signature.match(content):
        raise refused(field, f"the data is not {media_type}")
    return f"data:{media_type};base64,{data}"


def _decoded(data: str, field: str, setting: str, bound: int) -> bytes:
    too_large = RequestTooLarge(
        f"Invalid {field!r}: the data is larger than {bound} bytes (limits.{setting}).",
        field=field,
    )
    if len(data) * 3 // 4 - 2 > bound:  # too large even with padding: not worth decoding
        raise too_large
    try:
        content = msgspec.convert(
            data, bytes
        )  # ten times as fast as `binascii`: megabytes take a few milliseconds
    except msgspec.ValidationError as exc:
        raise refused(field, "the data is not base64") from exc
    if not content:
        raise refused(field, "the data is empty")
    if len(content) > bound:
        raise too_large
    return content
