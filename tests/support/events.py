"""Events of one answer, for tests of dialects and streams."""

from streamsvc.events import (
    Done,
    FinishReason,
    Outcome,
    Progress,
    PublicError,
    Restart,
    Start,
    Status,
)

GENERATION = "gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75"
START = Start(generation=GENERATION, provider="fake", model="words", created=1795305600)
RETRYING = Progress(state="retrying", provider="fake", reason="provider_unavailable")
SWITCHING = Progress(state="switching", provider="other", reason="upstream_cut")
RESTART = Restart(reason="upstream_cut", provider="other", model="words")
CUT = PublicError("upstream_cut", "It broke off.", retryable=True)


def done(
    status: Status = Status.COMPLETED,
    finish_reason: FinishReason = "stop",
    outcome: Outcome = Outcome.COMPLETED,
    error: PublicError | None = None,
) -> Done:
    """Return the end of an answer; by default of a whole one."""
    return Done(
        status=status,
        finish_reason=finish_reason,
        outcome=outcome,
        provider="fake",
        model="words",
        error=error,
    )


WHOLE = done()
FAILED = done(Status.FAILED, "error", Outcome.UPSTREAM_CUT, CUT)
