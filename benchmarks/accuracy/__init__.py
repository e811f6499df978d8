"""How right the answers are, on scans of all kinds."""
