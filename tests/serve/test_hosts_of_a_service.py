"""The hosts that `python -m streamsvc serve` answers for at an address that other machines can reach."""

from pathlib import Path

import httpx2
import pytest

from support.asking import answered, get
from support.network import namespace
from support.process import environment, serve_command, started
from support.service import CLIENT_SECONDS

OPEN = {"AUTH__ALLOW_ANONYMOUS": "true", "SERVER__HOSTS": "chat.example"}

ASK = "/stream-ai?prompt=hi"


@pytest.mark.promise("input:clear-error")
async def test_service_on_every_address_serves_no_foreign_name(tmp_path: Path) -> None:
    settings = environment({**OPEN, "SERVER__HOST": "0.0.0.0"}, {})
    running_on = r"running on http://0\.0\.0\.0:(\d+)"
    command = serve_command()
    async with started(command, tmp_path, settings, running_on=running_on) as service:
        for host, status in (
            ("evil.example:8000", 421),
            ("0.0.0.0.evil.example", 421),
            ("chat.example", 200),
            ("localhost:8000", 200),
            ("10.1.2.3:8000", 200),
            ("[2001:db8::1]", 200),
        ):
            headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
            answer = await answered(service.port, get(ASK), headers=headers)
            assert answer.status == status, host
        await service.logged("status=421 code=host_refused .* setting=server.hosts")
        assert "hosts.addresses_only" not in service.output
        assert await service.terminate() == 0


@pytest.mark.quiet
@pytest.mark.needs("ip")
async def test_service_on_one_address_is_probed_by_it(tmp_path: Path) -> None:
    """As Kubernetes and load balancers do, which know no name; the log says that no name is served."""
    with namespace() as machine:
        address = machine.front.here
        settings = environment({"AUTH__ALLOW_ANONYMOUS": "true", "SERVER__HOST": address}, {})
        running_on = rf"running on http://{address}:(\d+)"
        command = serve_command()
        async with (
            started(command, tmp_path, settings, running_on=running_on) as service,
            httpx2.AsyncClient(
                base_url=f"http://{address}:{service.port}", timeout=CLIENT_SECONDS
            ) as client,
        ):
            assert (await client.get("/readyz")).status_code == 200
            named = await client.get("/readyz", headers={"Host": "chat.example"})
            assert (named.status_code, named.json()["code"]) == (421, "host_refused")
            await service.logged("hosts.addresses_only")
