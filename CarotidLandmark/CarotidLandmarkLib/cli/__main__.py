"""``python -m CarotidLandmarkLib.cli``."""

from .app import main

main()
