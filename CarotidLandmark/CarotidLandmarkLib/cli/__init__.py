"""The command ``carotid-landmark``."""

import sys

from ..errors import forget_interrupts

try:
    from .app import app, main
    from .frame import Command, run
except KeyboardInterrupt:  # what the command itself needs takes its time
    forget_interrupts()
    sys.exit(3)
