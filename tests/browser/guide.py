"""The files in the code blocks of the documentation."""

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```\w*\n((?:<!--|//|#) (\S+).*?)^```$", re.MULTILINE | re.DOTALL)


def files_of(page: str) -> Mapping[str, str]:
    """Return the files of a page, by the names in their first lines."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return {block[2]: block[1] for block in _BLOCK.finditer(text)}


FENCES = (DOCS / "guides" / "frontend.md").read_text(encoding="utf-8").count("\n```") // 2
FILES = files_of("guides/frontend.md")
"""The files of the page for front ends."""


def save(directory: Path, *names: str, service: str, files: Mapping[str, str] = FILES) -> None:
    """Write files as a reader does, with the address of the service filled in."""
    for name in names:
        text = files[name].replace('const service = "";', f'const service = "{service}";')
        (directory / name).write_text(text, encoding="utf-8")
