"""Data that a provider needs back with a later request, bound to the adapter and the model that it came from.

Another model would refuse a signature that is not its own. Clients send the data back without reading it, so a stamp
travels with it: `{"google": {"thought_signature": "…"}, "streamsvc": {"kind": "gemini", "model": "…"}}`.
"""

from collections.abc import Mapping
from typing import Any

from streamsvc.messages import ProviderData

STAMP = "streamsvc"
"""The vendor key of the stamp."""


def stamped(data: ProviderData, kind: str, model: str, **notes: Any) -> ProviderData:
    """Return *data* with a stamp.

    Args:
        data: what the provider needs back, by vendor.
        kind: of the adapter (`settings.KINDS`).
        model: the model that was asked.
        notes: further JSON fields of the stamp, for the adapter itself.
    """
    return {**data, STAMP: {"kind": kind, "model": model, **notes}}


def own(data: ProviderData, kind: str, model: str) -> ProviderData:
    """Return the data that an adapter may use for a request to *model*, or nothing.

    Data without a stamp is used: another service wrote that history, with the vendor's own names. Clients may change
    the data, so its shapes must be checked.
    """
    if STAMP not in data:
        return data
    stamp = data[STAMP]
    if not isinstance(stamp, Mapping) or (stamp.get("kind"), stamp.get("model")) != (kind, model):
        return {}
    return data


def field(data: ProviderData, vendor: str, name: str) -> Any:
    """Return a field of a vendor's data, or None."""
    fields = data.get(vendor)
    return fields.get(name) if isinstance(fields, Mapping) else None
