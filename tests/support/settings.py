"""Settings loaded from text, and the errors about mistakes in it."""

from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from streamsvc.config.load import load
from streamsvc.config.provider_settings import KINDS
from streamsvc.config.section import Section
from streamsvc.config.settings import Settings
from streamsvc.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.toml"


SECRET = "sk-Zm9vYmFyIHNlY3JldA"


OPENAI = '[providers.openai]\nkind = "openai"\nmodel = "m"\n'


def read(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Load a `config.toml` with this text from an empty directory."""
    with TemporaryDirectory() as directory, chdir(directory):
        Path("config.toml").write_text(text, encoding="utf-8")
        return load(None, environ or {})


def mistake(text: str | None, environ: Mapping[str, str] | None = None) -> str:
    """Load a `config.toml` with a mistake, or no file if *text* is None; return the lines of the error."""
    with TemporaryDirectory() as directory, chdir(directory):
        if text is not None:
            Path("config.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(None, environ or {})
    return str(caught.value)


def places(kind: type[Section], *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of each setting in a file that has one entry of each kind."""
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from places(field.type, *path, field.name)
        elif field.name == "providers":
            for name, entry in KINDS.items():
                yield ("providers", name, "kind")
                yield from places(entry, "providers", name)
        else:
            yield (*path, field.name)


PLACES = [*places(Settings)]


def sections(loaded: Settings) -> list[Section]:
    """Return the tables of the settings, and the provider entries."""
    return [
        loaded,
        loaded.server,
        loaded.stream,
        loaded.generations,
        loaded.limits,
        loaded.cors,
        *loaded.providers.values(),
    ]


KINDS_ACCEPTED = "one of 'fake', 'gemini', 'openai'"


ENTRY_NAMES = "letters, digits, '-' and '_', beginning with a letter or a digit"


LEVELS = "one of 'debug', 'error', 'info', 'warning'"


ORIGIN = "scheme://host or scheme://host:port in lower case, or '*'"


PORT = "a whole number from 0 to 65535"


MODEL = "a string in quotes, not empty (it is required)"
