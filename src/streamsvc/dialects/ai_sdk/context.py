"""What the stream of an answer depends on besides its events: the page's messages before it.

**Ids of tool calls.** The hook finds the part of a tool output by the id alone, in any message. Some servers count the
calls of each answer from 0, so that an id comes back with every answer: the hook would write the new output into the old
call, and wait for the output of the new one. Such a call gets an id of its own in the page; the model gets its own back.
"""

import msgspec

_MARK = "~gen_"
"""Between the model's id and the rest of the id of the generation, which begins with `gen_`."""


class Context(msgspec.Struct, frozen=True):
    """What is known of the page's messages.

    Attributes:
        message: the id of the message that the answer adds a step to; empty: the answer is a message of its own.
        earlier: the chunks of that message's steps so far (`replay.earlier_steps`), for a replay.
        call_ids: of all tool calls in the messages.
    """

    message: str = ""
    earlier: bytes = b""
    call_ids: frozenset[str] = frozenset()

    def id_in_page(self, call_id: str, generation: str) -> str:
        """Return the id in the page of a call that the model makes in *generation*."""
        return f"{call_id}~{generation}" if call_id in self.call_ids else call_id


def id_of_model(call_id: str) -> str:
    """Return the id that the model gave to a call of the page."""
    return call_id.partition(_MARK)[0]
