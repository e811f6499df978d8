"""The one kind of error that is the user's to mend, which the commands and the panel catch; and what sentences and a
command's end need."""

from __future__ import annotations

import errno
from collections.abc import Sequence


class UserError(ValueError):
    """What was asked for can not be done. The message is one sentence for the user: what is wrong and what to do."""


def sentence(error: BaseException) -> str:
    """What the user is told of an error that is theirs to mend, or their machine's; "" of a fault of ours."""
    if isinstance(error, OSError) and error.strerror:  # an error of write() names no file
        what = error.filename or "A file or the output"
        return f"{what} can not be used ({error.strerror}); check the path and the disk."
    if lacks_memory(error):
        return "There is too little memory for this; close other programs, or crop the scan to the neck."
    return str(error) if isinstance(error, UserError) else ""


def lacks_room(error: BaseException) -> bool:
    """Whether a disk is full, or may not be written to: it will be so for the next of many, too."""
    full = errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)
    return isinstance(error, OSError) and error.errno in full


def lacks_memory(error: BaseException) -> bool:
    """Whether the machine, or its accelerator, refused memory; torch and ITK say so in a RuntimeError."""
    refusals = "DefaultCPUAllocator", "out of memory", "Failed to allocate memory"
    refused = isinstance(error, RuntimeError) and any(words in str(error) for words in refusals)
    return refused or isinstance(error, MemoryError)


def some_of(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first ``most`` texts, and how many more there are."""
    more = f"{separator.strip(' ,')} and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def forget_interrupts() -> None:
    """What was caught does not end the process.

    Under ``python -m`` CPython ends by SIGINT, whatever the exit code, after an interrupt that came through an eval of
    text (as in making a dataclass); it forgets it with the next.
    """
    eval("None")
