"""What a generation's log shows when its process is gone."""

from streamsvc.eventlog.base import EventLog, stored_batches
from streamsvc.events import Progress, Restart, Start
from streamsvc.snapshot import Standing


class Remains:
    """What is left of a generation.

    Attributes:
        standing: the part of the answer that viewers have.
        called: the name of the entry that was called last.
        provider: the name of the entry that the answer is from.
        model: the model that was requested from it.
    """

    def __init__(self) -> None:
        self.standing = Standing()
        self.called = self.provider = self.model = ""


async def remains_of(log: EventLog, generation: str) -> Remains:
    """Read what is left of a generation.

    Raises:
        GenerationNotFound: it is no longer kept.
    """
    remains = Remains()
    async for records in stored_batches(log, generation):
        remains.standing.extend(records)
        for record in records:
            match record.event:
                case (
                    Start(provider=provider, model=model) | Restart(provider=provider, model=model)
                ):
                    remains.called = remains.provider = provider
                    remains.model = model
                case Progress(provider=provider):
                    remains.called = provider
                case _:
                    pass
    return remains
