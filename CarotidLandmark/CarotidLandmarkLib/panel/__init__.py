"""The module's panel (Qt): widgets, and what they do to scene, job and dataset."""
