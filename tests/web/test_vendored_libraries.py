"""The libraries that the playground loads are those of npm, unchanged, and have their licences beside them."""

import json
import re
from pathlib import Path

import pytest

import streamsvc.web.playground
from support.parts import CLIENTS

VENDOR = Path(streamsvc.web.playground.__file__).with_name("static") / "vendor"
MODULES = CLIENTS / "node_modules"
SOURCES = {
    "markdown-it": ("markdown-it", "dist/browser"),
    "highlight.js": ("@highlightjs/cdn-assets", "es"),
}
"""The npm package of each directory, and where in it the files are."""

FILES = sorted(path.relative_to(VENDOR) for path in VENDOR.rglob("*") if path.is_file())


@pytest.mark.node
@pytest.mark.parametrize("library", SOURCES)
def test_vendored_files_equal_those_of_npm(library: str) -> None:
    package, folder = SOURCES[library]
    for file in FILES:
        if file.parts[0] != library:
            continue
        name = Path(*file.parts[1:])
        source = MODULES / package / (name if name.name == "LICENSE" else folder / name)
        assert (VENDOR / file).read_bytes() == source.read_bytes(), file


def test_every_library_has_a_licence_and_a_version() -> None:
    text = (VENDOR / "README.md").read_text(encoding="utf-8")
    pinned = json.loads((CLIENTS / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert {file.parts[0] for file in FILES} == {"README.md", *SOURCES}
    for library, (package, _) in SOURCES.items():
        assert (VENDOR / library / "LICENSE").is_file()
        assert re.search(rf"`{package}`.*\| {re.escape(pinned[package])} \|", text)


def test_a_page_without_code_loads_130_kb_of_libraries() -> None:
    """Less than a picture; with a block of Python it loads another 25 kB."""
    sizes = {file.as_posix(): (VENDOR / file).stat().st_size for file in FILES}
    assert sizes["markdown-it/markdown-it.esm.min.mjs"] < 130_000
    assert sizes["highlight.js/core.min.js"] < 21_000
    assert max(size for name, size in sizes.items() if "languages/" in name) < 16_000
    assert sum(sizes.values()) < 300_000
