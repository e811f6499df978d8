"""Arteries and veins of a neck, their disease, and where a lumen splits."""
