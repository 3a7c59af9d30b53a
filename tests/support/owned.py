"""A task group that does not wrap a single exception: a skip inside it stays a skip."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def own_tasks() -> AsyncIterator[TaskGroup]:
    """Hold a task group, and raise a single exception without the group around it."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
