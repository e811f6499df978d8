"""Files and folders that appear whole or not at all, and where the program keeps what belongs to this user."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from .errors import UserError

TEMPORARY_PREFIX = ".tmp-"
STALE_AFTER_S = 3600  # nothing takes an hour to write: what nobody has written to for longer, a killed program has left
# What file managers, servers and systems put into folders; in lower case.
_LEFT_BY_OTHERS = (
    "desktop.ini", "thumbs.db", "icon\r", "@eadir", "#recycle", "lost+found", "$recycle.bin",
    "system volume information",
)  # fmt: skip
# Windows keeps these for devices, in any case and with any extension.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
# Some file systems of clusters know no locks.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
# Virus scanners and indexers open what has just been written, and Windows moves no file that is open.
TRIES_S = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file beside ``path``; move it onto ``path`` when the block ends without an error.

    The temporary name ends in the name of ``path``, so that writers which choose a format by extension choose the same
    one. An error in the block removes the temporary file; a killed process leaves one that begins with ``.tmp-``, and
    ``path`` is as it was. A new file in a shared folder is shared, one that replaces another has its rights; of a link
    the file that it leads to is replaced. Raises OSError, PermissionError where somebody has made ``path`` read-only.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    _check_not_locked(path)
    temporary = _temporary(path.parent, path.name)
    try:
        yield temporary
        _take_rights(temporary, path if path.exists() else path.parent)
        sync(temporary)
        _move(temporary, path)
        sync(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the first error counts
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


class BusyError(Exception):
    """Another process holds a lock."""


@contextmanager
def locked(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file ``path`` in the block, alone among all processes; one that is killed lets go of it.

    Nothing is held where the file system knows no locks. Raises BusyError after ``wait_s`` seconds, OSError.
    """
    from filelock import FileLock, Timeout  # Slicer has it with PyTorch alone

    # A group may share the folder; a soft lock would outlive the killed.
    lock = FileLock(path, timeout=wait_s, mode=0o666, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{path} is held") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


def _move(source: Path, target: Path) -> None:
    """`os.replace`, tried again after each of `TRIES_S` where a file is held open. Raises OSError."""
    for seconds in TRIES_S:
        with suppress(PermissionError):
            os.replace(source, target)
            return
        time.sleep(seconds)
    os.replace(source, target)


def _check_not_locked(file: Path) -> None:
    """Raises PermissionError where nobody may write to a file: to replace one asks for rights to its folder alone."""
    if file.is_file() and not file.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))


def _take_rights(new: Path, like: Path) -> None:
    """Give a file the rights and the group of the one that it replaces. A new one, or a new folder, gets what the
    folder around it allows its group and others, if these may write there: nobody's umask shuts out who shares it."""
    if os.name != "posix":
        return
    with suppress(OSError):  # a file system without rights
        mine, its = new.stat(), like.stat()
        mode = its.st_mode
        if like.is_dir():
            shared = mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX  # /tmp is everybody's, not shared
            theirs = (stat.S_IRWXG if its.st_gid == mine.st_gid else 0) | stat.S_IRWXO if shared else 0
            mode = mine.st_mode | (mode & theirs & (0o777 if new.is_dir() else 0o666))
        elif its.st_gid != mine.st_gid:
            with suppress(PermissionError):  # a group that this user is not in
                os.chown(new, -1, its.st_gid)
        new.chmod(stat.S_IMODE(mode))


def make_folder(folder: Path) -> None:
    """Make a folder, and those around it, where there are none; what is in a shared folder is shared.

    Raises OSError.
    """
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(new):
        _take_rights(each, each.parent)


def _temporary(folder: Path, name: str) -> Path:
    """The path of a new temporary file or folder that is to be called ``name``."""
    return folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{_end_of(name)}"


def _end_of(name: str) -> str:
    """As much of the end of a name as a temporary one has room for, with ``-old``: names have 255 bytes."""
    return os.fsencode(name)[-255 + len(f"{TEMPORARY_PREFIX}0123456789ab--old") :].decode(errors="ignore")


def is_temporary(path: Path) -> bool:
    """Whether a file or folder is one that a killed program of ours has left, by its name."""
    return re.fullmatch(rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{12}}-.+", path.name) is not None


def temporary_in(folder: Path) -> list[Path]:
    """Those in a folder, of programs that are at work and of killed ones."""
    return sorted(filter(is_temporary, folder.glob(f"{TEMPORARY_PREFIX}*")))


def name_to_be(temporary: Path) -> str:
    """What a temporary file or folder is to be called (of a very long name the end); what a new folder replaces is
    called so, with ``-old``."""
    return temporary.name.split("-", 2)[2]


def remove_stale(folder: Path, temporary: Iterable[Path]) -> dict[Path, OSError | None]:
    """Remove those of the temporary files and folders in ``folder`` that nobody has written to for an hour.

    Returns them, each with what it can not be removed for: another user's may not be. An hour by the clock that dates
    the folder's files: a server's may be hours from ours. Raises OSError.
    """
    dates = {path: _last_written(path) for path in temporary}
    if not dates:
        return {}
    probe = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-clock"
    write_text(probe, "")
    try:
        present = probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
    return {path: _refusal_to_go(path) for path, date in dates.items() if date < present - STALE_AFTER_S}


def _refusal_to_go(path: Path) -> OSError | None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except FileNotFoundError:  # another command clears up, too
        return None
    except OSError as error:
        return error
    return None


def _last_written(path: Path) -> float:
    """When a file, or anything in a folder, was last written; infinite where something in it just goes."""
    try:
        return max(each.stat().st_mtime for each in (path, *path.rglob("*")))
    except FileNotFoundError:  # somebody is at work in it
        return float("inf")
    except PermissionError:  # a folder of somebody else's
        return path.stat().st_mtime


def is_empty(folder: Path) -> bool:
    """Whether nobody has put anything into a folder: hidden files, and what programs leave there, do not count."""
    return all(is_left_by_others(path.name) for path in folder.iterdir())


def is_left_by_others(name: str) -> bool:
    """Whether a file or folder is hidden, or one that file managers, servers and systems put into any folder."""
    return name.startswith(".") or name.lower() in _LEFT_BY_OTHERS


def is_device(name: str) -> bool:
    """Whether Windows takes a file's name for a device."""
    return name.partition(".")[0].lower() in _DEVICES


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text to ``path`` as UTF-8, atomically; what UTF-8 does not have becomes a mark. Raises OSError."""
    text = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)  # half an emoji, a byte of a file's name
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk. Raises OSError of a file.

    What is in a folder is written, whether or not one may open it for this: Windows and some file systems do not know
    how to, and others may not read it.
    """
    with suppress(OSError) if path.is_dir() else nullcontext():
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def staged_folder(destination: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """A temporary folder by ``destination``; what is in it moves there when the block ends without an exception.

    Files of the same name in ``destination`` are replaced one by one and others stay; with ``replace`` the whole folder
    is exchanged. After an exception (Ctrl-C too) nothing in ``destination`` has changed, and a folder that is new is
    not there. What a killed writer has left is removed by the first that is done an hour later. Raises OSError;
    NotADirectoryError when ``destination`` is a file.
    """
    destination = Path(destination).absolute()
    if replace and destination.is_symlink():  # the folder that it leads to is exchanged
        destination = destination.resolve()
    if destination.exists() and not destination.is_dir():
        raise NotADirectoryError(f"{destination} is a file, not a folder")
    new_parents = [parent for parent in destination.parents if not parent.exists()]
    # An existing folder may be a mount of its own, and files move whole only inside one file system.
    parent = destination if destination.exists() and not replace else destination.parent
    staging = _temporary(parent, destination.name)
    try:
        try:
            make_folder(staging)
        except OSError as error:  # name the folder that was asked for, not ours
            raise OSError(error.errno, error.strerror, str(destination)) from error
        yield staging
        if not destination.exists():
            _move(staging, destination)
            sync(parent)
        elif replace:
            _exchange(staging, destination)
        else:
            _move_into(staging, destination)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename and Path(error.filename).is_relative_to(staging):
            error.filename = str(destination / Path(error.filename).relative_to(staging))
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # one that somebody else has put something into stays
            for parent in new_parents:
                parent.rmdir()
        raise
    with suppress(OSError):
        ours = (_end_of(destination.name), f"{_end_of(destination.name)}-old")
        remove_stale(parent, [path for path in temporary_in(parent) if name_to_be(path) in ours])


def _move_into(staging: Path, destination: Path) -> None:
    sources = sorted(staging.rglob("*"))
    for source in sources:  # before the first of them has moved
        target = destination / source.relative_to(staging)
        if target.is_dir() and not source.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        _check_not_locked(target)
    retired, done = staging.with_name(f"{staging.name}-old"), []
    try:
        for source in sources:
            target, old = (folder / source.relative_to(staging) for folder in (destination, retired))
            if source.is_dir():
                make_folder(target)
                continue
            if target.exists():
                old.parent.mkdir(parents=True, exist_ok=True)
                _keep(target, old)
                _take_rights(source, target)
            done.append((target, old))
            _move(source, target)
    except BaseException:  # one that is open elsewhere, Ctrl-C: what has been moved goes back
        for target, old in done:
            if old.exists():
                _move(old, target)
            elif not (staging / target.relative_to(destination)).exists():
                target.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)
    shutil.rmtree(staging)


def _keep(file: Path, aside: Path) -> None:
    """Have a file under another name, too, without copying it where the file system can do that."""
    try:
        os.link(file, aside)
    except OSError:
        shutil.copy2(file, aside)


def _exchange(staging: Path, destination: Path) -> None:
    retired = staging.with_name(f"{staging.name}-old")
    try:
        _move(destination, retired)
        try:
            _move(staging, destination)
        except OSError:
            if retired.exists():
                raise
            _exchange(staging, destination)  # somebody took us for killed, and brought the old one back
    except BaseException:  # on Windows one of its files may be open elsewhere; Ctrl-C
        if retired.exists() and not destination.exists():
            _move(retired, destination)
        raise
    sync(destination.parent)  # or a power cut leaves neither
    shutil.rmtree(retired, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_path(text: str, what: str = "a path") -> None:
    """Raises UserError on a text that was to be a path and is none: it would be the present folder, or one called ~."""
    if not text:
        raise UserError(f"{what} is empty: perhaps a variable that is not set.")
    if text == "~" or text.startswith(("~/", "~\\")):
        raise UserError(f"{what} begins with ~, which is your home folder to a shell alone; write the folder out.")


def check_file(path: Path) -> None:
    """Raises UserError where no file can be put at ``path``: before work that would be in vain."""
    folder = path.absolute().parent
    if path.is_dir():
        raise UserError(f"{path.name} is a folder; give the name of a file.")
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder.name} for {path.name}; make it first.")


def user_directory() -> Path:
    """$CAROTID_LANDMARK_HOME, else ``.carotid-landmark`` in the home folder. It need not exist.

    There: where referenced images lie, the key of patients, models of the user's own. Raises UserError as `directory`.
    """
    return directory("CAROTID_LANDMARK_HOME", ".carotid-landmark")


def directory(variable: str, usual: str) -> Path:
    """The folder that a variable of the environment names, else ``usual`` in the home folder. It need not exist.

    Raises UserError where there is no home folder, or the variable's is another one in every working folder.
    """
    named = os.environ.get(variable)
    try:
        folder = Path(named) if named else Path.home() / usual
    except RuntimeError as error:
        raise UserError(f"You have no home folder here; name a folder of yours in {variable}.") from error
    if not folder.is_absolute():  # ~ is the home folder to a shell alone
        raise UserError(f"{variable} is {folder}, another folder wherever you work; write it out from the root on.")
    return folder
