"""From the start of the process to the first 200 of its health path."""

from collections.abc import AsyncIterator

from bench.stage import Sample, Stage
from bench.targets import TARGETS


async def startup(stage: Stage) -> AsyncIterator[Sample]:
    """Start each target several times; streamsvc also with its fake provider."""
    targets = list(stage.targets)
    if any(target.is_streamsvc for target in targets):
        targets.insert(0, TARGETS["streamsvc-fake"])
    for number in range(stage.sizes.starts):
        for target in targets:
            if target.name == "streamsvc-openai":  # started like `streamsvc`
                continue
            async with stage.guest(target) as guest:
                metrics = {"start_seconds": guest.running.start_seconds}
            yield Sample("startup", "first 200", target.name, number, {**metrics})
