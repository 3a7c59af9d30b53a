"""JSON Schemas in requests."""

from collections.abc import Mapping
from typing import Any


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """Check a JSON Schema.

    Raises:
        InvalidField: it is not a schema that every API takes; names the place in it.
    """
