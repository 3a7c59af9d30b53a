"""Details of what happens, as the hooks report them, with values that a test changes."""

from typing import Any

import msgspec

from streamsvc.events import Done, Outcome, Status, Usage
from streamsvc.hooks import CallEnded, Gaps, GenerationEnded, ViewerLeft

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"
"""The `traceparent` of a sampled trace."""

USAGE = Usage(input_tokens=5, output_tokens=20, reasoning_tokens=3, cached_tokens=2)


def done(outcome: Outcome = Outcome.COMPLETED, **changes: Any) -> Done:
    """Return how an answer ended."""
    ended = Done(
        status=Status.COMPLETED,
        finish_reason="stop",
        outcome=outcome,
        provider="main",
        model="model-a-2026",
    )
    return msgspec.structs.replace(ended, **changes)


def call_ended(**changes: Any) -> CallEnded:
    """Return the end of a call that gave three pieces, with gaps of 0.02 and 0.3 s."""
    call = CallEnded(
        generation="gen_1",
        principal="",
        provider="main",
        kind="openai",
        model="model-a",
        answering_model="model-a-2026",
        number=1,
        began_at=0.0,
        seconds=0.5,
        first_piece_seconds=0.18,
        gaps=Gaps([0.02, 0.3]),
        pieces=3,
        has_begun=True,
    )
    return msgspec.structs.replace(call, **changes)


def generation_ended(**changes: Any) -> GenerationEnded:
    """Return the end of a complete answer of 20 pieces."""
    generation = GenerationEnded(
        generation="gen_1",
        principal="team-a",
        end="finished",
        model="model-a",
        done=done(),
        began_at=0.0,
        seconds=0.6,
        first_token_seconds=0.2,
        calls=1,
        pieces=20,
    )
    return msgspec.structs.replace(generation, **changes)


def viewer_left(**changes: Any) -> ViewerLeft:
    """Return the end of a stream of two writes."""
    viewer = ViewerLeft(
        generation="gen_1",
        dialect="native",
        reason="finished",
        began_at=0.0,
        seconds=1.0,
        first_frame_seconds=0.3,
        gaps=Gaps([0.04]),
        sent_bytes=120,
        keepalives=2,
    )
    return msgspec.structs.replace(viewer, **changes)
