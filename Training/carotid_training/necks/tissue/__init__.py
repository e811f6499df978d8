"""Necks made of the tissue of real, unenhanced CTs."""
