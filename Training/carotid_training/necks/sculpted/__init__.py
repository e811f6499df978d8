"""Necks made of formulas alone."""
