"""The port of every limiter: how much each principal may use, and all principals together.

A generation is admitted before it starts, and settled when it has ended and its tokens are known. In between, its
principal holds a lease for it, so that answers at once can be limited. A viewer is a lease as well.
"""

from typing import Protocol

from typing_extensions import override

from streamsvc.engine.audience import Count
from streamsvc.messages import Prompt
from streamsvc.principals import Principal


class Limiter(Protocol):
    """Admits generations and viewers; one limiter serves all processes.

    Waiting: only the `async` methods may use a network, and only if a limit applies to the caller. If one of them
    fails or is cancelled, nothing is admitted. The other methods take effect soon, never wait and never raise; for a
    generation that was not admitted here, they do nothing.

    Death: what a process held is free a few seconds after it has died, unless another one resumes it.
    """

    async def admit(self, generation: str, caller: Principal, prompt: Prompt) -> None:
        """Charge a request and the tokens it may take, and take a lease for a generation: all of it, or nothing.

        Raises:
            RateLimited: one of the limits is reached; says which, and when to try again.
            StoreUnavailable: the store cannot be used, and requests are refused because of that.
        """
        ...

    def resume(self, generation: str, principal: str) -> None:
        """Hold a generation that another process has admitted and that this one takes over; limits do not apply.

        Args:
            generation: its id.
            principal: the name of whose it is.
        """
        ...

    def settle(self, generation: str, tokens: int | None) -> None:
        """End an admission: charge what the generation has used instead of what it might have used.

        Args:
            generation: its id.
            tokens: its tokens, input and output; None: unknown, so that it keeps what it was charged.
        """
        ...

    def cancel(self, generation: str) -> None:
        """End an admission as if it had never been made: the generation has not started."""
        ...

    def hand_over(self, generation: str) -> None:
        """Leave an admission to another process, which resumes and settles it."""
        ...

    async def viewer(self, caller: Principal) -> Count | None:
        """Take a lease for a viewer, and return what ends it with `leave`; None if viewers have no limit.

        Raises:
            RateLimited: the caller has as many viewers as it may have.
        """
        ...


class Unlimited(Limiter):
    """Admits everything: for a process with a single user."""

    @override
    async def admit(self, generation: str, caller: Principal, prompt: Prompt) -> None:
        pass

    @override
    def resume(self, generation: str, principal: str) -> None:
        pass

    @override
    def settle(self, generation: str, tokens: int | None) -> None:
        pass

    @override
    def cancel(self, generation: str) -> None:
        pass

    @override
    def hand_over(self, generation: str) -> None:
        pass

    @override
    async def viewer(self, caller: Principal) -> Count | None:
        return None
