"""Helpers for tests of programs that use streamsvc: a server, a client in this process, scripts and events.

docs/guides/testing.md has recipes. Nothing here needs pytest; with pytest, `streamsvc.pytest_plugin` provides fixtures by itself.
"""

from streamsvc.testing.answers import Answer, Call, Event, parse_events, read_answer, read_events
from streamsvc.testing.client import client
from streamsvc.testing.script import Script
from streamsvc.testing.server import Server, serve

__all__ = [
    "Answer",
    "Call",
    "Event",
    "Script",
    "Server",
    "client",
    "parse_events",
    "read_answer",
    "read_events",
    "serve",
]
