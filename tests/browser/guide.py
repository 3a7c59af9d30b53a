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


PAGES = [
    f"guides/{name}.md"
    for name in (
        "plain-page", "stop-and-resume", "fetch", "react", "openai-client",
        "tickets", "other-origins", "proxies", "many-tabs",
    )
]  # fmt: skip
"""The guides for pages; the others have tests of their own."""

FILES: Mapping[str, str] = {name: text for page in PAGES for name, text in files_of(page).items()}
"""The files of these guides, by name."""

_SERVICE = re.compile(r'const service = "[^"]*";')


def with_service(text: str, service: str) -> str:
    """Return a file with the address of the service filled in."""
    return _SERVICE.sub(f'const service = "{service}";', text)


def save(directory: Path, *names: str, service: str, files: Mapping[str, str] = FILES) -> None:
    """Write files as a reader does, with the address of the service filled in."""
    for name in names:
        text = with_service(files[name], service)
        (directory / name).write_text(text, encoding="utf-8")
