"""The headers that every response has, for tests of what else a response has."""

from streamsvc.web.headers import SECURITY_HEADERS
from support.eventstream import Answer

EVERYWHERE = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
OFTEN_OWN = {"cache-control", "content-security-policy"}
"""Those for which some responses have a value of their own."""


def own_headers(answer: Answer) -> dict[str, str]:
    """Return the header fields of a response besides those that every response has."""
    usual = {"date", "server", *EVERYWHERE} - {"cache-control"}
    return {name: value for name, value in answer.headers.items() if name not in usual}
