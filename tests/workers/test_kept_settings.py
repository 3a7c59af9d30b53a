"""A worker that starts later has the settings of the others, whatever the file has become."""

from pathlib import Path

import pytest

from streamsvc.config.load import Source
from streamsvc.config.settings import Settings
from streamsvc.server.workers.inheritance import SETTINGS, STARTED, Inheritance

TEXT = '[log]\nprefix = "one"\n[stream]\nping_seconds = 5\n'
CHANGED = TEXT.replace("one", "two").replace("5", "6")


def loaded(directory: str, file: Path) -> Settings:
    """Return the settings of a worker with this inheritance, as the command line reads them."""
    inheritance = Inheritance(2, 3, 4, 6, 1, (5,), directory)
    source = Source(file, {}, text=inheritance.settings)
    return inheritance.like_the_others(source.load(), source)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("prot = 1")
    return path


@pytest.mark.promise("change:no-loss")
def test_what_waits_for_a_restart_waits_in_a_later_worker_too(tmp_path: Path, file: Path) -> None:
    """Workers with different logs would not find each other's answers."""
    (tmp_path / STARTED).write_text(TEXT)
    (tmp_path / SETTINGS).write_text(CHANGED)
    settings = loaded(str(tmp_path), file)
    assert (settings.log.prefix, settings.stream.ping_seconds) == ("one", 6)
    (tmp_path / STARTED).write_text(CHANGED)
    assert loaded(str(tmp_path), file).log.prefix == "two"


def test_a_supervisor_without_a_directory_has_kept_nothing(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name in the working directory is somebody else's."""
    monkeypatch.chdir(tmp_path)
    for name in (SETTINGS, STARTED):
        (tmp_path / name).write_text(CHANGED)
    file.write_text(TEXT)
    assert loaded("", file).log.prefix == "one"
