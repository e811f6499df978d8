"""The command ``carotid-landmark``."""

from .app import app, main

__all__ = ["app", "main"]
