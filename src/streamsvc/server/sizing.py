"""What the settings add up to: seconds to stop, descriptors, memory."""

import math

from streamsvc.config.settings import LimitSettings, Settings
from streamsvc.server import descriptors

STOP_MARGIN_SECONDS = 5
"""The time after drain and close: provider calls are closed (`providers.base.CLOSE_SECONDS`), admissions are ended in
Redis, and the process exits."""

PRE_STOP_SECONDS = 5
"""How long load balancers may still send new connections to a process that is about to stop."""

BASE_BYTES = 150_000_000
"""A process with both adapters and their SDKs, and what a burst of requests needs for a moment."""

VIEWER_BYTES = 40_000
"""An open stream with its share of a generation; see docs/architecture.md, "What a step costs"."""


def stop_seconds(settings: Settings) -> int:
    """Return how many seconds after SIGTERM the service has ended at the latest."""
    server = settings.server
    return math.ceil(server.drain_seconds + server.close_seconds + STOP_MARGIN_SECONDS)


def descriptors_needed(limits: LimitSettings) -> int:
    """Return how many open files a process needs for all connections of the limits."""
    return descriptors.needed_for(limits.max_connections, limits.max_generations)


def memory_bytes(settings: Settings) -> int:
    """Return how much memory the limits allow all workers together, in bytes; it is rarely needed at a time."""
    limits = settings.limits
    kept = settings.generations.max_total_log_bytes + limits.max_total_data_bytes
    passing = limits.max_total_unread_bytes + limits.max_total_body_bytes
    streams = limits.max_viewers * VIEWER_BYTES
    return settings.server.workers * (BASE_BYTES + kept + passing + streams)
