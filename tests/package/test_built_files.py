"""The files of a release: what is in them, what is not, and what the page of the package shows."""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from email.message import Message
from email.parser import HeaderParser
from itertools import chain
from pathlib import Path
from typing import cast

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from readme_renderer import markdown

from streamsvc import __version__
from support.wheel import ROOT, Files, build, built

pytestmark = pytest.mark.needs("uv")

WHEEL_BYTES = 1_000_000
SDIST_BYTES = 4_000_000
MINORS = range(11, 15)
"""The versions of Python 3 that are tested."""

LINK = re.compile(r'(?:href|src)="([^"]*)"')
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "streamsvc"
LICENCES = [ROOT / "LICENSE", *PACKAGE.rglob("LICENSE*")]
"""Ours, and those of what the playground brings along."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return built(tmp_path_factory)


@pytest.fixture(scope="module")
def wheel(files: Files) -> Mapping[str, bytes]:
    """The contents of the wheel by their paths."""
    with zipfile.ZipFile(files.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: Mapping[str, bytes]) -> Message:
    return HeaderParser().parsestr(wheel[f"{info()}/METADATA"].decode())


def info() -> str:
    return f"streamsvc-{__version__}.dist-info"


def members(files: Files) -> list[tarfile.TarInfo]:
    with tarfile.open(files.sdist) as archive:
        return archive.getmembers()


def test_twine_has_no_complaint(files: Files) -> None:
    command = [
        sys.executable,
        "-m",
        "twine",
        "check",
        "--strict",
        str(files.wheel),
        str(files.sdist),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout


def test_the_wheel_has_the_package_and_nothing_else(wheel: Mapping[str, bytes]) -> None:
    ours = {
        f"streamsvc/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"streamsvc/py.typed", "streamsvc/web/static/index.html"} <= ours
    about = {f"{info()}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    licences = {f"{info()}/licenses/{it.relative_to(ROOT).as_posix()}": it for it in LICENCES}
    assert wheel.keys() == ours | about | licences.keys()
    assert wheel["streamsvc/config.toml"] == (ROOT / "config.toml").read_bytes()
    assert {name: wheel[name] for name in licences} == {
        name: path.read_bytes() for name, path in licences.items()
    }


def test_installing_the_wheel_runs_nothing(wheel: Mapping[str, bytes]) -> None:
    """A `.pth` would run at each start of Python; scripts other than entry points would be copied as they are."""
    assert not [name for name in wheel if name.endswith(".pth") or ".data/" in name]
    lines = wheel[f"{info()}/WHEEL"].decode().splitlines()
    assert {"Root-Is-Purelib: true", "Tag: py3-none-any"} <= set(lines)


@pytest.mark.needs("git")
def test_the_source_distribution_has_what_is_committed(files: Files) -> None:
    """So the tests run in it."""
    root = f"streamsvc-{__version__}/"
    names = {member.name.removeprefix(root) for member in members(files)}
    assert all(member.name.startswith(root) for member in members(files))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    committed = set(filter(None, listed.stdout.decode().split("\0")))
    assert committed - names == set()
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name]


def test_links_in_the_source_distribution_stay_in_it(files: Files) -> None:
    links = [member for member in members(files) if member.issym() or member.islnk()]
    assert {member.linkname for member in links} <= {"../../config.toml"}


def test_nothing_is_named_of_the_machine_that_built_it(
    files: Files, wheel: Mapping[str, bytes]
) -> None:
    with tarfile.open(files.sdist) as archive:
        read = cast("Callable[[tarfile.TarInfo], bytes]", lambda it: archive.extractfile(it).read())  # type: ignore[union-attr]
        packed = {it.name: read(it) for it in archive.getmembers() if it.isfile()}
    here = str(ROOT).encode()
    found = [name for name, text in chain(wheel.items(), packed.items()) if here in text]
    assert found == []


def test_files_are_small(files: Files) -> None:
    assert files.wheel.stat().st_size < WHEEL_BYTES
    assert files.sdist.stat().st_size < SDIST_BYTES


def test_the_source_distribution_builds_the_same_wheel(files: Files, tmp_path: Path) -> None:
    """As the tree does: byte for byte."""
    build(files.sdist, tmp_path / "again", "--wheel")
    build(ROOT, tmp_path / "direct", "--wheel")
    expected = files.wheel.read_bytes()
    for place in ("again", "direct"):
        assert (tmp_path / place / files.wheel.name).read_bytes() == expected, place


def test_the_page_of_the_package_has_no_broken_link(metadata: Message) -> None:
    """There is no repository around it: what README.md links to is linked at a public address, or not at all."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = str(metadata.get_payload())
    html = markdown.render(page)
    assert html
    leads = (
        "https://",
        "http://127.0.0.1",
        "#user-content-",
    )  # the last are PyPI's own, of headings
    assert [link for link in LINK.findall(html) if not link.startswith(leads)] == []
    if metadata.get_all("Project-URL"):
        assert len(LINK.findall(html)) == len(LINK.findall(markdown.render(README) or ""))


def test_the_page_of_the_package_says_what_the_readme_says(metadata: Message) -> None:
    page = str(metadata.get_payload())
    assert CODE.findall(page) == CODE.findall(README)
    without_pictures = re.sub(r"<img[^>]*>", "", markdown.render(README) or "")
    assert words(markdown.render(page) or "") == words(without_pictures)


def words(html: str) -> list[str]:
    return re.sub(r"<[^>]*>", "", html).split()


def test_metadata_names_the_versions_of_python(metadata: Message) -> None:
    assert metadata["Version"] == __version__
    allowed = SpecifierSet(metadata["Requires-Python"])
    assert [f"3.{it}" in allowed for it in (MINORS[0] - 1, *MINORS)] == [False, *[True] * 4]
    named = re.findall(r":: Python :: 3\.(\d+)", "\n".join(metadata.get_all("Classifier", [])))
    assert list(map(int, named)) == [*MINORS]
    assert {"sse", "llm"} <= set(metadata["Keywords"].split(","))
    assert metadata["License-Expression"] == "MIT AND BSD-3-Clause"


def test_every_dependency_has_a_lower_and_an_upper_bound(metadata: Message) -> None:
    for line in metadata.get_all("Requires-Dist", []):
        operators = {it.operator for it in Requirement(line).specifier}
        assert operators == {">=", "<"}, line
