"""Random requests, raw over the socket: each gets a documented answer, and the service stays as it was."""

from pathlib import Path

import anyio
import pytest

from support.fuzz.run import Fuzz
from support.fuzz.settings import SETTINGS, configure
from support.process import serve

REQUESTS = 4_000


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.promise("input:clear-error")
async def test_random_requests_get_documented_answers(tmp_path: Path) -> None:
    """`uv run just fuzz` sends a million of them."""
    credentials = configure(tmp_path)
    async with serve(tmp_path, SETTINGS) as service:
        with anyio.fail_after(250):
            document = (await service.client.get("/openapi.json")).json()
            fuzz = Fuzz(service, document, total=REQUESTS, seed=17, credentials=credentials)
            report = await fuzz.run()
            assert report.faults == []
            assert (await service.client.get("/healthz")).is_success
            assert await service.terminate() == 0
    service.assert_quiet()
    assert {200, 201, 204, 400, 401, 404, 405, 414, 415, 422, 431} <= report.statuses.keys()
    assert report.descriptors[-1] <= report.descriptors[0] + 2
