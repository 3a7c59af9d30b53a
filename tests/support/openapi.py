"""The OpenAPI document in `docs/`: `uv run just tables` writes it, a test compares it."""

from pathlib import Path

import msgspec

from streamsvc.app import create_app
from streamsvc.config.settings import Settings
from streamsvc.web.openapi.document import document

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def written() -> str:
    """Return the document as the file has it."""
    return (
        msgspec.json.format(document(create_app(Settings(), {}).routes), indent=2).decode() + "\n"
    )
