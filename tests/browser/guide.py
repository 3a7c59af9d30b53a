"""The files that pages of the documentation are made of."""

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```\w*\n((?:<!--|//|#) (\S+).*?)^```$", re.MULTILINE | re.DOTALL)


def files_of(page: str) -> Mapping[str, str]:
    """Return the text of each file of a page, by the name in its first line."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return {block[2]: block[1] for block in _BLOCK.finditer(text)}


FENCES = (DOCS / "frontend.md").read_text(encoding="utf-8").count("\n```") // 2
FILES = files_of("frontend.md")
"""Those of the page for front ends."""


def save(directory: Path, *names: str, service: str, files: Mapping[str, str] = FILES) -> None:
    """Write files as a reader would who fills in where the service is."""
    for name in names:
        text = files[name].replace('const service = "";', f'const service = "{service}";')
        (directory / name).write_text(text, encoding="utf-8")
