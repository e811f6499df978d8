"""Commands that measure, from the repository's root: ``python -m benchmarks.ROOM.NAME``. They write docs/results."""
