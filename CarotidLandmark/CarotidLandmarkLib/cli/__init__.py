"""The command ``carotid-landmark``."""

from .app import app, main
