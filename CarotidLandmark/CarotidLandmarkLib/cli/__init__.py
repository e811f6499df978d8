"""The command ``carotid-landmark``."""

from .app import app, main
from .frame import Command, run
