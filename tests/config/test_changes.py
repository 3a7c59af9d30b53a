"""What a reload changes, and what waits for a restart."""

import msgspec
import pytest

from streamsvc.config.changes import OF_ALL_WORKERS, RELOADED, RESTARTED, change_to
from streamsvc.config.paths import dotted, places
from streamsvc.config.provider_settings import FakeSettings, GeminiSettings, ProviderSettings
from streamsvc.config.settings import CorsSettings, LogSettings, ServerSettings, Settings


def test_each_setting_is_reloaded_or_waits_for_a_restart() -> None:
    """A new setting must be put into one of the two lists; a list has nothing that is no setting."""
    used = set()
    for place in places(Settings):
        ways = {name for name in (place[0], dotted(place[:2])) if name in RELOADED | RESTARTED}
        assert len(ways) == 1, dotted(place)
        used |= ways
    assert used == RELOADED | RESTARTED
    assert not RELOADED & RESTARTED
    assert OF_ALL_WORKERS < RESTARTED


def test_equal_settings_are_no_change() -> None:
    assert change_to(Settings(), Settings()) == (Settings(), [], [])


@pytest.mark.promise("change:no-loss")
def test_what_needs_a_restart_stays_as_it_was() -> None:
    running = Settings()
    wanted = Settings(
        provider="b",
        server=ServerSettings(port=9000, hosts=("a.example",)),
        log=LogSettings(write_ms=50),
        cors=CorsSettings(origins=("https://a.example",)),
    )
    change = change_to(running, wanted)
    assert change.applied == ["provider", "server.hosts", "cors.origins"]
    assert change.waiting == ["server.port", "log.write_ms"]
    assert change.settings == Settings(
        provider="b", server=ServerSettings(hosts=("a.example",)), cors=wanted.cors
    )
    assert change_to(change.settings, wanted) == (change.settings, [], change.waiting)


def test_a_restart_of_the_workers_keeps_what_is_the_supervisors() -> None:
    wanted = Settings(
        server=ServerSettings(port=9000, drain_seconds=1), log=LogSettings(write_ms=50)
    )
    change = change_to(Settings(), wanted, kept=OF_ALL_WORKERS)
    assert change.waiting == ["server.port"]
    assert change.settings.log.write_ms == 50


def test_provider_entries_are_compared_key_by_key() -> None:
    """An entry that comes, goes or gets another kind is named as a whole."""
    before: dict[str, ProviderSettings]
    before = {
        "same": FakeSettings(),
        "a b": FakeSettings(),
        "gone": FakeSettings(),
        "kind": FakeSettings(),
    }
    after: dict[str, ProviderSettings] = {
        "same": FakeSettings(),
        "a b": FakeSettings(text="secret", fallbacks=("same",)),
        "kind": GeminiSettings(model="m"),
        "new": FakeSettings(),
    }
    change = change_to(Settings(providers=before), Settings(providers=after))
    assert change.applied == [
        "providers.'a b'.fallbacks", "providers.'a b'.text",
        "providers.gone", "providers.kind", "providers.new",
    ]  # fmt: skip
    assert change.settings.providers == after
    assert "secret" not in msgspec.json.encode(change.applied).decode()
