"""A few hundred damaged headers; `fuzz.py` does the same for as long as it is told."""

from __future__ import annotations

import itertools
from collections import Counter

from .fuzz import outcomes


def test_damaged_headers_are_read_or_refused_and_nothing_else():
    happened = list(itertools.islice(outcomes(seed=7), 150))
    assert [entry for entry in happened if entry[1].startswith("fault")] == []
    counts = Counter(outcome for _, outcome in happened)
    assert counts["refused"] > 30 and counts["read"] > 10  # the changes matter, and not each of them breaks a file
