"""`files.atomic_path` under its old name, for `volume` alone: goes when that becomes a room."""

from .files import atomic_path

__all__ = ["atomic_path"]
