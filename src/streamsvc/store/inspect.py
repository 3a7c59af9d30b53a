"""What kind of server the store is, and whether it can keep its promises."""

import logging
import re

from streamsvc.log_line import log
from streamsvc.store.client import Store

logger = logging.getLogger(__name__)

LEAST_VERSION = (6, 2)
"""The oldest version of Redis that is supported."""


async def log_server(store: Store) -> None:
    """Log the server's version, and a warning if it is too old or drops keys.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    server, memory = await store.info("server"), await store.info("memory")
    kind = next((it for it in ("valkey", "redis") if f"{it}_version" in server), "unknown")
    version = str(server.get(f"{kind}_version", "unknown"))
    policy = str(memory.get("maxmemory_policy", "unknown"))
    log(logger, logging.INFO, "store.connected", kind=kind, version=version, policy=policy)
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < LEAST_VERSION:
        log(logger, logging.WARNING, "store.too_old", version=version, least="6.2")
    if policy.startswith("allkeys"):
        note = "answers may be lost at any time; set maxmemory-policy to noeviction"
        log(logger, logging.WARNING, "store.evicts", note, policy=policy)
