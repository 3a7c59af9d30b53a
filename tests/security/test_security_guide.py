"""What `docs/operate/secure.md` shows is what happens: its commands, its configurations, and the statuses it names."""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from browser.guide import DOCS
from browser.proxies import on_the_internet
from streamsvc.config.keys_file import read_keys
from streamsvc.config.load import load
from support.console import Command, commands_of, type_in
from support.process import Running, serve

pytestmark = pytest.mark.needs("curl")

GUIDE = (DOCS / "operate" / "secure.md").read_text(encoding="utf-8")
COMMANDS = list(commands_of(GUIDE))
KEY = re.compile(r"ssk_[a-z2-7]+_[a-z2-7]{32}")
QUICK = {"PROVIDERS__FAKE__WORDS_PER_SECOND": "0", "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0"}


def block(language: str, begin: str) -> str:
    """Return the block of the guide that has a line with this beginning."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if re.search(rf"^{re.escape(begin)}", text, re.MULTILINE)]
    return str(found)


def connected(directory: Path, **ports: int) -> Mapping[str, str]:
    """Return variables with which curl finds the hosts of the guide at other ports."""
    lines = [f'connect-to = "{host}:127.0.0.1:{port}"' for host, port in ports.items()]
    (directory / ".curlrc").write_text("\n".join(["insecure", *lines]))
    return {"CURL_HOME": str(directory)}


async def typed(command: str, directory: Path, environ: Mapping[str, str]) -> str:
    return await anyio.to_thread.run_sync(partial(type_in, command, directory, environ))


async def check(command: Command, directory: Path, environ: Mapping[str, str]) -> str:
    """Type a command in; return what it printed, which is what the guide says."""
    printed = await typed(command.line, directory, environ)
    assert command.matches(printed), (command.line, printed)
    return printed


@pytest.mark.needs("caddy", "openssl")
async def test_ten_lines_put_it_on_the_internet(tmp_path: Path) -> None:
    """Each command is typed as it stands; the names and ports of the guide lead to those of this test."""
    making, plain, asking = COMMANDS[:3]
    key = KEY.findall(await check(making, tmp_path, {}))[0]
    lines = block("toml", "hosts = ") + block("caddyfile", "words.example.com")
    assert len([line for line in lines.splitlines() if line.strip() and line[0] != "#"]) <= 8
    (tmp_path / "config.toml").write_text(block("toml", "hosts = "))
    async with (
        serve(tmp_path, QUICK) as service,
        on_the_internet(tmp_path, service.port) as port,
    ):
        hosts = connected(tmp_path, **{"words.example.com:443": port})
        await check(plain, tmp_path, hosts)
        words = await check(asking, tmp_path, {**hosts, "KEY": key})
        assert "event: done" in words
        assert key not in service.output
        service.assert_quiet()


async def test_three_teams_get_keys_and_limits(tmp_path: Path) -> None:
    """Keys, what a team may do, rotation and revocation, and a ticket: with the commands of the guide."""
    made = [command for command in COMMANDS[3:] if " key new " in command.line]
    assert len(made) == 3
    keys = [KEY.findall(await check(command, tmp_path, {}))[0] for command in made]
    [listing] = [command for command in COMMANDS if " key list" in command.line]
    rows = [line.split() for line in (await check(listing, tmp_path, {})).splitlines()]
    assert [row[1] for row in rows[1:]] == ["website", "search", "reports"]
    assert [row[0] for row in rows[1:]] == [key.split("_")[1] for key in keys]
    _edit_by_hand(tmp_path / "keys.toml", block("toml", "[principals.website]"))
    (tmp_path / "config.toml").write_text(block("toml", "origins = "))
    async with serve(tmp_path, QUICK) as service:
        environ = {**connected(tmp_path, **{"127.0.0.1:8000": service.port}), "KEY": keys[0]}
        [ticket] = [command for command in COMMANDS if "/v1/tickets" in command.line]
        url = json.loads(await check(ticket, tmp_path, environ))["url"]
        of_page = {"Origin": "https://app.example.com", "Accept": "text/event-stream"}
        elsewhere = await service.client.get(url, headers={"Origin": "https://evil.example"})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "origin_refused")
        shown = await service.client.get(url, headers=of_page)
        assert '"status":"completed"' in shown.text
        again = await service.client.get(url, headers=of_page)
        assert '"code":"ticket_spent"' in again.text

        search = {"Authorization": f"Bearer {keys[1]}"}
        listed = (await service.client.get("/v1/providers", headers=search)).json()
        assert [entry["name"] for entry in listed["providers"]] == ["fake"]

        new = KEY.findall(await typed("streamsvc key new website", tmp_path, {}))[0]
        await _until_status(service, new, 200)
        await typed(f"streamsvc key revoke {keys[0].split('_')[1]}", tmp_path, {})
        await _until_status(service, keys[0], 401)
        await _until_status(service, new, 200)
        assert not any(key in service.output for key in (*keys, new))
        service.assert_quiet()


def _edit_by_hand(path: Path, lines: str) -> None:
    """Put the lines of the guide into the tables that `streamsvc key new` has made."""
    text = path.read_text(encoding="utf-8")
    for table, body in re.findall(
        r"^(\[principals\.\w+\]\n)(.*?)(?=^\[|\Z)", lines, re.MULTILINE | re.DOTALL
    ):
        assert table in text
        text = text.replace(table, table + body)
    path.write_text(text, encoding="utf-8")
    known = read_keys(path, ["fake"])
    assert known["search"].limits == {
        "requests_per_minute": 60,
        "tokens_per_minute": 100_000,
        "max_generations": 4,
        "max_viewers": 20,
    }
    assert known["website"].limits == {"requests_per_minute": 300}


async def _until_status(service: Running, key: str, status: int) -> None:
    """Ask until a key gets a status; the guide says that a change counts within a second."""
    headers = {"Authorization": f"Bearer {key}"}
    with anyio.fail_after(20):
        while (await service.client.get("/v1/providers", headers=headers)).status_code != status:
            pass


async def test_the_table_of_defaults_is_right(tmp_path: Path) -> None:
    rows = re.findall(r"`(curl [^`]+)` gets (\d+)", GUIDE)
    assert len(rows) >= 5
    async with serve(tmp_path, QUICK) as service:
        environ = connected(tmp_path, **{"127.0.0.1:8000": service.port})
        for line, status in rows:
            command = f"{line} -s -o /dev/null -w '%{{http_code}}'"
            assert await typed(command, tmp_path, environ) == status, line


def test_an_open_address_needs_an_explicit_line(tmp_path: Path) -> None:
    [line] = re.findall(r"`(STREAMSVC_SERVER__HOST=\S+ streamsvc check-config)`", GUIDE)
    printed = type_in(line, tmp_path, {})
    assert "auth.keys_file" in printed
    assert "auth.allow_anonymous = true" in printed


@pytest.mark.parametrize("begin", ["[jwt]", "hosts = ", "origins = "])
def test_the_settings_of_the_guide_are_valid(tmp_path: Path, begin: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(block("toml", begin))
    load(path, {})
