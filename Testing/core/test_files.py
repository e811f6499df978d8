"""Result folders: whole or not at all, on one file system, other people's files left alone."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from CarotidLandmarkLib import files
from CarotidLandmarkLib.errors import UserError, sentence
from CarotidLandmarkLib.files import (
    atomic_path,
    make_folder,
    remove_stale,
    staged_folder,
    temporary_in,
    user_directory,
    write_text,
)

from ..rights import not_root


def fill(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text(text)


@pytest.fixture
def private():
    """A user who shows new files to nobody, by their umask."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_appears_with_everything_in_it(tmp_path):
    with staged_folder(tmp_path / "x" / "results") as folder:
        fill(folder, "new")
        assert not (tmp_path / "x" / "results").exists()
    assert contents(tmp_path) == {"x/results/a.txt": "new", "x/results/deep/b.txt": "new"}


def test_an_existing_folder_gets_the_files_and_keeps_its_own(tmp_path):
    fill(tmp_path, "old")
    (tmp_path / "notes.txt").write_text("mine")
    with staged_folder(tmp_path) as folder:
        fill(folder, "new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert contents(tmp_path) == {"a.txt": "new", "deep/b.txt": "new", "notes.txt": "mine"}


def test_an_existing_folder_may_be_a_mount_files_never_leave_it(tmp_path, monkeypatch):
    destination = tmp_path / "mounted"
    destination.mkdir()
    moves = []
    monkeypatch.setattr(
        os, "replace", lambda source, target, move=os.replace: (moves.append(source), move(source, target))
    )
    with staged_folder(destination) as folder:
        fill(folder, "new")
    assert len(moves) == 2
    assert all(Path(source).is_relative_to(destination) for source in moves)


def test_replacing_exchanges_the_whole_folder(tmp_path):
    destination = tmp_path / "model"
    destination.mkdir()
    (destination / "stale.txt").write_text("old")
    with staged_folder(destination, replace=True) as folder:
        fill(folder, "new")
    assert contents(tmp_path) == {"model/a.txt": "new", "model/deep/b.txt": "new"}


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_ctrl_c_changes_nothing(tmp_path, error, replace):
    fill(tmp_path, "old")
    for destination in (tmp_path, tmp_path / "new" / "results"):
        with pytest.raises(error), staged_folder(destination, replace) as folder:
            fill(folder, "half")
            raise error
    assert contents(tmp_path) == {"a.txt": "old", "deep/b.txt": "old"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "deep"]
    assert not [path for path in tmp_path.parent.iterdir() if path.name.startswith(".tmp-")]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, PermissionError(errno.EACCES, "held open")])
@pytest.mark.parametrize("at", [1, 2])
def test_what_had_been_moved_goes_back_when_the_rest_can_not_be(tmp_path, monkeypatch, replace, error, at):
    """New results beside old ones were refused for ever after; of a model nothing was left."""
    fill(tmp_path / "results", "old")
    moves, move = [], os.replace

    def stopped(*paths):
        moves.append(paths)
        if len(moves) == at:
            raise error
        move(*paths)

    with pytest.raises((KeyboardInterrupt, PermissionError)), staged_folder(tmp_path / "results", replace) as folder:
        fill(folder, "new")
        (folder / "another.txt").write_text("new")
        monkeypatch.setattr(os, "replace", stopped)
    assert contents(tmp_path) == {"results/a.txt": "old", "results/deep/b.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["a.txt", "deep"]


def test_a_link_to_a_folder_stays_when_what_it_leads_to_is_replaced(tmp_path):
    fill(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    with staged_folder(tmp_path / "link", replace=True) as folder:
        fill(folder, "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a.txt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "results").write_text("mine")
    with pytest.raises(NotADirectoryError), staged_folder(tmp_path / "results"):
        pass
    assert contents(tmp_path) == {"results": "mine"}


@pytest.mark.parametrize("exists", [False, True])
def test_what_a_killed_writer_left_an_hour_ago_is_removed_and_nothing_of_another_s(tmp_path, exists):
    destination = tmp_path / "results"
    place = destination if exists else tmp_path
    old, retired, new, others, foreign = (
        f".tmp-{name}" for name in
        ("0" * 12 + "-results", "1" * 12 + "-results-old", "2" * 12 + "-results", "3" * 12 + "-other", "results")
    )  # fmt: skip
    for name in (old, retired, new, others, foreign):
        (place / name).mkdir(parents=True)
        (place / name / "half").write_text("half")
        for path in (place / name / "half", place / name) if name != new else ():
            os.utime(path, (time.time() - 7200,) * 2)
    with staged_folder(destination) as folder:
        (folder / "whole").write_text("whole")
        with staged_folder(destination) as second:  # of a worker that was taken for dead
            (second / "whole").write_text("second")
    assert (destination / "whole").read_text() == "whole"
    assert {path.name for path in (*tmp_path.iterdir(), *destination.iterdir())} == {
        new, others, foreign, "results", "whole",
    }  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="rights are others there")
def test_what_another_user_has_left_stays_and_what_else_was_left_goes():
    """It ended whatever was begun in a folder of several users, and `repair` half-way."""
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name)
        theirs, ours = (shared / f".tmp-{digit * 12}-results" for digit in "01")
        for folder in (theirs, ours):
            folder.mkdir()
            (folder / "half").write_text("half")
        shared.chmod(0o777), ours.chmod(0o777), theirs.chmod(0o555)
        for path in (theirs, ours, ours / "half", theirs / "half"):
            os.utime(path, (time.time() - 7200,) * 2)
        with not_root():
            stale = remove_stale(shared, temporary_in(shared))
        theirs.chmod(0o755)
        assert list(stale) == [theirs, ours] and stale[ours] is None
        assert isinstance(stale[theirs], PermissionError)
        assert list(shared.iterdir()) == [theirs]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    done, sync, move = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append(os.fstat(descriptor).st_ino), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("named"), move(*paths)))
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert done[:2] == [(tmp_path / "a.txt").stat().st_ino, "named"]  # then the folder, where it can be opened


def test_an_error_of_writing_names_the_file_that_was_to_be_written(tmp_path):
    for place in (tmp_path / "new", tmp_path):
        with pytest.raises(OSError) as failure, staged_folder(place) as folder, atomic_path(folder / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert sentence(failure.value) == (
            f"{place / 'a.txt'} can not be used (No space left on device); check the path and the disk."
        )
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_names_no_file_is_a_sentence_all_the_same():
    assert "can not be used (Input/output error)" in sentence(OSError(errno.EIO, "Input/output error"))
    assert sentence(OSError("what a library says")) == sentence(ValueError("x")) == ""


def test_text_that_utf_8_does_not_have_becomes_a_mark_and_the_rest_stays(tmp_path):
    write_text(tmp_path / "a.csv", "Müller 🙂,half \ud83d,M\udcfcller\n\tnext line\n")
    assert (tmp_path / "a.csv").read_bytes().decode() == "Müller 🙂,half \ufffd,M\ufffdller\n\tnext line\n"


@pytest.mark.parametrize("refusals", [2, 3])
def test_a_file_that_windows_holds_open_is_moved_as_soon_as_it_is_let_go(tmp_path, monkeypatch, refusals):
    calls, move = [], os.replace

    def held(*paths):
        calls.append(paths)
        if len(calls) <= refusals:
            raise PermissionError(errno.EACCES, "Access is denied")
        move(*paths)

    monkeypatch.setattr(files, "TRIES_S", (0.0, 0.0))
    monkeypatch.setattr(os, "replace", held)
    fill(tmp_path, "old")
    with pytest.raises(PermissionError) if refusals == 3 else nullcontext():
        write_text(tmp_path / "a.txt", "new")
    assert contents(tmp_path) == {"a.txt": "new" if refusals == 2 else "old", "deep/b.txt": "old"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "deep"]


@pytest.mark.skipif(os.name != "posix", reason="rights are others there")
def test_in_a_shared_folder_new_files_are_shared_and_replaced_ones_keep_their_rights(tmp_path, private):
    """A training by somebody with umask 077 took cases, predictions and splits from all annotators of a dataset."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    for name, rights in (("a.txt", 0o664), ("secret.txt", 0o600)):
        (shared / name).write_text("old")
        (shared / name).chmod(rights)
    write_text(shared / "secret.txt", "new")
    write_text(shared / "new.txt", "new")
    make_folder(shared / "deep" / "er")
    with staged_folder(shared) as folder:
        fill(folder, "new")
    with staged_folder(shared / "case") as folder:
        write_text(folder / "case.json", "new")
    assert {path.relative_to(shared).as_posix(): mode(path) for path in sorted(shared.rglob("*"))} == {
        "a.txt": "664",
        "secret.txt": "600",
        "new.txt": "664",
        "deep": "775",
        "deep/b.txt": "600",  # not written by `atomic_path`
        "deep/er": "775",
        "case": "775",
        "case/case.json": "664",
    }


@pytest.mark.skipif(os.name != "posix", reason="rights are others there")
def test_in_a_folder_of_one_s_own_or_of_everybody_a_new_file_is_as_private_as_its_user_wants(tmp_path, private):
    for rights in (0o700, 0o755, 0o1777):
        tmp_path.chmod(rights)
        write_text(tmp_path / f"{rights:o}.txt", "mine")
    assert {name: mode(tmp_path / f"{name}.txt") for name in ("700", "755", "1777")} == dict.fromkeys(
        ("700", "755", "1777"), "600"
    )


def test_a_file_that_somebody_has_made_read_only_is_not_replaced(tmp_path):
    fill(tmp_path, "old")
    (tmp_path / "deep" / "b.txt").chmod(0o444)
    with pytest.raises(PermissionError) as refusal:
        write_text(tmp_path / "deep" / "b.txt", "new")
    assert refusal.value.filename == str(tmp_path / "deep" / "b.txt")
    with pytest.raises(PermissionError) as refusal, staged_folder(tmp_path) as folder:
        fill(folder, "new")
    assert refusal.value.filename == str(tmp_path / "deep" / "b.txt")
    assert contents(tmp_path) == {"a.txt": "old", "deep/b.txt": "old"}
    (tmp_path / "deep" / "b.txt").chmod(0o644)


@pytest.mark.skipif(os.name != "posix", reason="rights are others there")
def test_a_file_is_written_into_a_folder_that_may_not_be_listed():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        with not_root():
            (folder := Path(name) / "drop").mkdir()
            folder.chmod(0o333)
            write_text(folder / "a.txt", "whole")
            folder.chmod(0o755)
        assert contents(folder) == {"a.txt": "whole"}


@pytest.mark.parametrize("name", ["a" * 251 + ".csv", "ü" * 123 + ".nii.gz"])
def test_a_name_as_long_as_names_can_be_is_written(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("new")
        assert temporary_in(tmp_path) == [temporary] and temporary.name.endswith(name[-100:])
    for text in ("old", "new"):
        with staged_folder(tmp_path / "deep" / name, replace=True) as folder:
            (folder / name).write_text(text)
    assert contents(tmp_path) == {name: "new", f"deep/{name}/{name}": "new"}


def test_the_first_error_is_told_and_not_that_of_clearing_up(tmp_path):
    with pytest.raises(ValueError, match="first"), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.mkdir()
        raise ValueError("first")


def test_a_link_to_a_file_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("a.txt", "new.txt"):
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
        for text in ("old", "new"):
            write_text(tmp_path / name, text)
        assert (tmp_path / name).is_symlink() and (tmp_path / "real" / name).read_text() == "new"


@pytest.mark.parametrize("named", ["~/.carotid", "~", "home", "./home"])
def test_a_users_folder_that_is_another_one_in_every_working_folder_is_refused(monkeypatch, named):
    """Each had a key of patients of its own: one patient was as many as there were working folders."""
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", named)
    with pytest.raises(UserError, match=r"^CAROTID_LANDMARK_HOME is .*, another folder wherever you work; write"):
        user_directory()
