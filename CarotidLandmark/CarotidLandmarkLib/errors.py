"""The one kind of error that is the user's to mend, which the commands and the panel catch; and what sentences need."""

from __future__ import annotations

import errno
from collections.abc import Sequence

# What a disk says in the middle of a file, where the error names none.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class UserError(ValueError):
    """What was asked for can not be done. The message is one sentence for the user: what is wrong and what to do."""


def sentence(error: BaseException) -> str:
    """What the user is told of an error that is theirs to mend, or their machine's; "" of a fault of ours."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename} can not be used ({error.strerror}); check the path and the disk."
    if isinstance(error, OSError) and error.errno in DISK:
        return f"A file can not be read or written ({error.strerror}); check the disk."
    return str(error) if isinstance(error, UserError) else ""


def some_of(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first ``most`` texts, and how many more there are."""
    more = f"{separator.strip(' ,')} and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more
