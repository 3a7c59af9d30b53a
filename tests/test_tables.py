"""The tables in the documentation match the rows in the tests."""

import pytest

from support import advisories, deployment
from support.tables import DOCS, TABLES, written


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_current(name: str) -> None:
    """If they are not, run `uv run just tables`."""
    page = (DOCS / name).read_text()
    assert page == written(page, TABLES[name])


@pytest.mark.parametrize("name", deployment.files())
def test_deployment_files_are_those_of_the_default_settings(name: str) -> None:
    """If they are not, run `uv run just tables`."""
    assert (deployment.PLACE / name).read_text() == deployment.files()[name]


def test_changed_row_is_noticed() -> None:
    page = (DOCS / "reference" / "faults.md").read_text()
    changed = page.replace("| 429 with", "| 428 with", 1)
    assert changed != page
    assert written(changed, TABLES["reference/faults.md"]) == page


def test_page_without_markers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="table faults"):
        written("no table", TABLES["reference/faults.md"])


def test_each_advisory_names_tests_that_exist() -> None:
    assert [*advisories.missing()] == []
    assert all(row.tests for row in advisories.ADVISORIES)
