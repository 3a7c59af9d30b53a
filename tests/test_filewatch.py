"""A file counts as changed once it is as it was at the last look."""

from pathlib import Path

from streamsvc.filewatch import POLL_SECONDS, SETTLE_SECONDS, FileWatch


def test_a_file_counts_as_changed_when_it_has_settled(tmp_path: Path) -> None:
    path = tmp_path / "a"
    watch = FileWatch(path)
    assert (watch.look(), watch.seconds) == (False, POLL_SECONDS)
    path.write_text("")
    assert (watch.look(), watch.seconds) == (False, SETTLE_SECONDS)
    path.write_text("more")
    assert not watch.look()
    assert watch.look()
    assert (watch.look(), watch.seconds) == (False, POLL_SECONDS)


def test_a_file_that_is_away_and_back_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    watch = FileWatch(path)
    path.unlink()
    assert [watch.look(), watch.look()] == [False, True]
    (tmp_path / "b").write_text("x")
    (tmp_path / "b").replace(path)
    assert [watch.look(), watch.look()] == [False, True]


def test_a_link_to_another_file_is_a_change(tmp_path: Path) -> None:
    """Kubernetes replaces mounted settings this way."""
    for name in "ab":
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("a")
    watch = FileWatch(tmp_path / "link")
    (tmp_path / "other").symlink_to("b")
    (tmp_path / "other").replace(tmp_path / "link")
    assert [watch.look(), watch.look()] == [False, True]
