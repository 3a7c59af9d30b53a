"""One call to one provider, within its deadlines."""

import math
from collections.abc import Callable

import anyio

from streamsvc.clock import clock
from streamsvc.engine.lanes import Lane
from streamsvc.errors import ProviderContentFiltered, ProviderTimedOut
from streamsvc.messages import Prompt
from streamsvc.providers.base import Delta, Finish


async def attempt(
    lane: Lane,
    prompt: Prompt,
    *,
    first_token_at: float,
    end: float,
    on_first_token: Callable[[], None],
    say: Callable[[Delta], None],
) -> Finish:
    """Ask a provider, and say what it says.

    Headers, comments and role chunks are no tokens: the adapters give none for them.

    Args:
        lane: the provider.
        prompt: what is asked.
        first_token_at: until when the first token has to be there, on the event loop's clock.
        end: until when the answer has to be whole.
        on_first_token: called before the first delta is said.
        say: is given each delta, in order.

    Raises:
        ProviderError: it failed, or broke off, or missed a deadline. The call is closed by then.
    """
    now = clock()
    idle_seconds = lane.section.idle_bound
    slack_seconds = min(idle_seconds / 16, 1.0)
    deadline, move_at = "first_token", -math.inf

    def hear(delta: Delta) -> None:
        nonlocal deadline, move_at
        if deadline == "first_token":
            deadline = "idle"
            on_first_token()
        say(delta)
        if (at := now()) >= move_at:
            # To move the deadline of a scope costs more than all else that is done here, so it is moved
            # now and then, and is so much longer.
            pace.deadline = min(at + idle_seconds + slack_seconds, end)
            move_at = at + slack_seconds

    with anyio.CancelScope(deadline=min(first_token_at, end)) as pace:
        try:
            provider = await lane.provider()
            return await provider.generate(prompt, hear)
        except ProviderContentFiltered as exc:
            # Refused before or within an answer, it is the same to everybody: an end, and no failure
            # that another provider should be asked to route around.
            return Finish(reason="content_filter", provider_reason=exc.code)
    if now() >= end:
        deadline = "total"
    raise ProviderTimedOut(deadline)
