"""The sections of `docs/reference/settings.md`, from the settings' structs and the comments of `config.toml`."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from streamsvc.config.changes import OF_ALL_WORKERS, RELOADED
from streamsvc.config.paths import OPTIONS, dotted, variable_for
from streamsvc.config.provider_settings import KINDS, ProviderSection
from streamsvc.config.section import Section
from streamsvc.config.settings import Settings
from streamsvc.config.values import describe
from support.reference.explained import Explained, explained
from support.reference.markdown import anchor, sentences, table

NAME = "NAME"
"""Stands for the name of a provider entry."""

_FLAGS = {path: flag for flag, path in OPTIONS.items()}
_DOCS = re.compile(r"docs/(?:reference/)?((?:\w+/)?[\w-]+\.md)")
_TOML = re.compile(r'\{[^`]*"[^`]*\}|(?:[\w.]+ = )?(?:\["[^\]]*"\]|"[^"\s]*")')
_CHOICE = re.compile(r"'(\w+)'")
_TABLE = re.compile(r"\[(\w+)\](?!\()")


def overview() -> str:
    """Return the tables of the file with their keys."""
    rows = [("top of the file", _keys([("provider",)]))]
    rows += [(f"[`[{name}]`](#{name})", _keys(paths)) for name, paths in _tables().items()]
    rows += [(f"[`[providers.{NAME}]`](#providersname)", _keys(map(_named, _entries())))]
    return table(("table", "keys"), rows)


def top() -> str:
    """Return the section of the key above the tables."""
    return _setting(("provider",))


def tables() -> str:
    """Return a section for each table, apart from the provider entries."""
    parts = (f"## `[{name}]`\n\n{_settings(paths)}" for name, paths in _tables().items())
    return "\n".join(parts)


def entries() -> str:
    """Return a section for each key of a provider entry, first those that every kind has."""
    groups: dict[str, list[str]] = {}
    for key, kinds in _entries().items():
        groups.setdefault(_kinds(kinds), []).append(key)
    ordered = sorted(groups, key=lambda words: words.count(","), reverse=True)
    parts = []
    for words in sorted(ordered, key=lambda words: words != _kinds([*KINDS])):
        keys = "\n".join(_entry_setting(key) for key in groups[words])
        parts.append(f"### {words}\n\n{keys}")
    return "\n".join(parts)


def restarted() -> str:
    """Return the settings that need a restart, by table."""
    rows = []
    for name, places in _tables().items():
        own = [path for path in places if _change(path) != "reloads"]
        keys = ", ".join(
            f"[`{path[-1]}`](../reference/settings.md#{anchor(dotted(path))})" for path in own
        )
        if own:
            rows.append((f"`[{name}]`", f"all: {keys}" if len(own) == len(places) else keys))
    return table(("table", "keys that need a restart"), rows)


def paths() -> Sequence[str]:
    """Return every setting that the page has, as in its headings."""
    plain = [("provider",), *(path for some in _tables().values() for path in some)]
    return [*map(dotted, plain), *(dotted(_named(key)) for key in _entries())]


@cache
def _tables() -> Mapping[str, Sequence[tuple[str, ...]]]:
    """Return the paths of the keys in each table."""
    return {
        field.name: [(field.name, key.name) for key in msgspec.structs.fields(field.type)]
        for field in msgspec.structs.fields(Settings)
        if isinstance(field.type, type) and issubclass(field.type, Section)
    }


@cache
def _entries() -> Mapping[str, Sequence[str]]:
    """Return the keys of provider entries, each with the kinds that have it."""
    found: dict[str, list[str]] = {"kind": [*KINDS]}
    for kind, section in KINDS.items():
        for field in msgspec.structs.fields(section):
            found.setdefault(field.name, []).append(kind)
    common = {field.name for field in msgspec.structs.fields(ProviderSection)}
    return dict(sorted(found.items(), key=lambda item: item[0] in common))


def _kinds(kinds: Sequence[str]) -> str:
    if len(kinds) == len(KINDS):
        return "Entries of every kind"
    return f"Entries of kind {' and '.join(f'`{kind}`' for kind in kinds)}"


def _named(key: str) -> tuple[str, ...]:
    return "providers", NAME, key


def _keys(places: Iterable[tuple[str, ...]]) -> str:
    return ", ".join(f"[`{path[-1]}`](#{anchor(dotted(path))})" for path in places)


def _settings(places: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(map(_setting, places))


def _setting(path: tuple[str, ...]) -> str:
    """Return the section of a setting that is in no provider entry."""
    entry = explained()[path]
    kind: Any = Settings
    for name in path:
        kind = next(it.type for it in msgspec.structs.fields(kind) if it.name == name)
    facts = [f"Default: `{entry.default}`", _accepted(kind), f"`{variable_for(path)}`"]
    facts += [f"`{flag}`"] if (flag := _FLAGS.get(path)) else []
    text = _text(entry, path)
    return f"### `{dotted(path)}`\n\n{_line([*facts, _change(path)])}\n\n{text}\n"


def _entry_setting(key: str) -> str:
    """Return the section of a key of provider entries; what differs between kinds is said for each."""
    kinds = _entries()[key]
    if key == "kind":
        accepted = ", ".join(f'`"{kind}"`' for kind in sorted(KINDS))
        text = "What answers; it decides which other keys the entry has."
        return f"#### `{dotted(_named(key))}`\n\n{_line(['Required', f'one of {accepted}', _variable(key), 'reloads'])}\n\n{text}\n"
    found = {kind: explained()[("providers", kind, key)] for kind in kinds}
    defaults = {kind: f"`{entry.default}`" for kind, entry in found.items()}
    field = next(it for it in msgspec.structs.fields(KINDS[kinds[-1]]) if it.name == key)
    facts = [f"Default: {_by_kind(defaults)}", _accepted(field.type), _variable(key)]
    text = _texts(key, found)
    return f"#### `{dotted(_named(key))}`\n\n{_line([*facts, _change(('providers',))])}\n\n{text}\n"


def _texts(key: str, found: Mapping[str, Explained]) -> str:
    """Return the comments of a key in the entries of the file; one without has that of the entry above it."""
    texts: dict[str, list[str]] = {}
    has_own = any(it.comment for it in found.values())
    for kind, entry in found.items():
        if entry.comment or not (texts or has_own):
            texts[_text(entry, _named(key))] = [kind]
        elif texts:
            texts[[*texts][-1]].append(kind)
    if len(texts) == 1:
        return next(iter(texts))
    return "\n\n".join(f"{_kinds(kinds)}:\n{text}" for text, kinds in texts.items())


def _variable(key: str) -> str:
    return f"`{variable_for(('providers', '<name>', key))}`"


def _by_kind(words: Mapping[str, str]) -> str:
    if len({*words.values()}) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{text} ({kind})" for kind, text in words.items())


def _line(facts: Iterable[str]) -> str:
    return " · ".join(facts)


def _change(path: tuple[str, ...]) -> str:
    """Return what a change of a setting takes."""
    if {path[0], dotted(path)} & RELOADED:
        return "reloads"
    return "full restart" if dotted(path) in OF_ALL_WORKERS else "restart"


def _text(entry: Explained, path: tuple[str, ...]) -> str:
    """Return the comment as Markdown; lines that are set in are kept as they are."""
    if entry.first:
        first = dotted((*path[:-1], entry.first))
        return f"See [`{first}`](#{anchor(first)})."
    return "\n".join(_paragraphs(entry.comment))


def _paragraphs(comment: Sequence[str]) -> Iterator[str]:
    rows: list[str] = []
    words: list[str] = []
    for line in (*comment, ""):
        is_row = line.startswith("  ")
        if rows and not is_row:
            yield "\n```text\n" + "\n".join(rows) + "\n```\n"
            rows = []
        if words and (is_row or not line):
            yield sentences(_marked(" ".join(words)))
            words = []
        if is_row:
            rows.append(line.strip())
        elif line:
            words.append(line)


def _marked(text: str) -> str:
    """Return text with links to pages, and with quoted values as code."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        linked = _TABLE.sub(_to_table, _DOCS.sub(_link, parts[number]))
        parts[number] = _TOML.sub(lambda found: f"`{found[0]}`", linked)
    return "`".join(parts)


def _to_table(found: re.Match[str]) -> str:
    return f"[`{found[0]}`](#{found[1]})" if found[1] in _tables() else found[0]


def _accepted(kind: Any) -> str:
    """Return what a setting accepts; texts as TOML has them."""
    return _CHOICE.sub(r'`"\1"`', describe(kind, None))


def _link(found: re.Match[str]) -> str:
    page = found[1]
    target = f"../{page}" if "/" in page else page
    return f"[{page.rpartition('/')[2]}]({target})"
