"""Where the program keeps what belongs to this user: where referenced images lie, and models of their own."""

from __future__ import annotations

import os
from pathlib import Path


def user_directory() -> Path:
    """$CAROTID_LANDMARK_HOME, else ``.carotid-landmark`` in the home folder. It need not exist."""
    return Path(os.environ.get("CAROTID_LANDMARK_HOME", Path.home() / ".carotid-landmark"))
