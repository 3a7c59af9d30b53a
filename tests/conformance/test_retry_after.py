"""The time of a retry, as upstreams state it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from provider import UpstreamSubject, every_upstream
from provider import ask as _ask

from streamsvc.provider_errors import ProviderRateLimited, ProviderUnavailable
from support.upstreams import status

pytestmark = pytest.mark.usefixtures("no_certificates")


def _retry_info(delay: object) -> object:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    return {"error": {"code": 429, "details": [7, {"@type": "x"}, info]}}


@every_upstream
@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, None, None),
        ({"Retry-After": "12"}, None, 12),
        ({"Retry-After": "0"}, None, 0),
        ({"Retry-After": "1.5"}, None, 1.5),
        ({"Retry-After": "12", "retry-after-ms": "250"}, None, 0.25),
        ({"Retry-After": "12", "retry-after-ms": "soon"}, None, 12),
        ({"Retry-After": "-1"}, None, None),
        ({"Retry-After": "nan"}, None, None),
        ({"Retry-After": "9" * 400}, None, None),
        ({"Retry-After": "Mon, 99 Foo 99999 99:99:99 GMT"}, None, None),
        ({"Retry-After": ""}, None, None),
        ({}, _retry_info("12s"), 12),
        ({}, _retry_info("0.5s"), 0.5),
        ({"Retry-After": "3"}, _retry_info("12s"), 3),
        ({}, _retry_info("-12s"), None),
        ({}, _retry_info(12), None),
        ({}, {"error": {"code": 429, "details": "12s"}}, None),
    ],
    ids=repr,
)
async def test_error_says_when_to_retry(
    subject: UpstreamSubject, headers: dict[str, str], body: object, expected: float | None
) -> None:
    async with subject.open() as (api, provider):
        for code, kind in ((429, ProviderRateLimited), (503, ProviderUnavailable)):
            api.script((status(code, body, headers),))
            _, error = await _ask(provider)
            assert type(error) is kind
            assert error.retry_after_seconds == expected


@every_upstream
async def test_retry_after_may_be_a_date(subject: UpstreamSubject) -> None:
    now = datetime.now(UTC)
    due = format_datetime(now + timedelta(hours=1), usegmt=True)
    over = format_datetime(now - timedelta(hours=1), usegmt=True)
    async with subject.open() as (api, provider):
        for date in (due, due.replace("GMT", "-0000")):
            api.script((status(429, None, {"Retry-After": date}),))
            _, error = await _ask(provider)
            assert error is not None
            assert error.retry_after_seconds == pytest.approx(3600, abs=60)
        api.script((status(429, None, {"Retry-After": over}),))
        _, error = await _ask(provider)
        assert error is not None
        assert error.retry_after_seconds is None
