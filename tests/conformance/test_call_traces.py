"""Each provider puts a call into its trace, with one header field of that call alone."""

import msgspec
import pytest
from provider import PROMPT, UPSTREAMS, UpstreamSubject, gather

from support.answering import answering
from support.upstreams import finish, text

pytestmark = pytest.mark.usefixtures("no_certificates")

TRACEPARENTS = [f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{n}-01" for n in range(2)]


@pytest.mark.promise("seen:outside")
@pytest.mark.parametrize("subject", UPSTREAMS, ids=lambda subject: subject.name)
async def test_a_call_carries_its_own_traceparent(subject: UpstreamSubject) -> None:
    """Not that of an earlier call; and none, if it is not traced."""
    traces = ["", *TRACEPARENTS, ""]
    async with subject.open(text("Hi."), finish()) as (api, provider):
        for trace in traces:
            prompt = msgspec.structs.replace(PROMPT, trace=trace)
            async with answering(provider, prompt) as pieces:
                await gather(pieces)
        sent = [call.headers.get("traceparent", "") for call in api.calls]
        bodies = [str(call.body) for call in api.calls]
    assert sent == traces
    assert len(set(bodies)) == 1  # the trace is in no body
    assert not any(set(call.headers) & {"tracestate", "baggage"} for call in api.calls)
