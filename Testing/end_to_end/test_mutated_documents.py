"""A document of any shape is read, or refused in one sentence, by every command that reads it."""

from benchmarks.safety.mutated_documents import shortcomings


def test_no_command_fails_on_a_damaged_document():
    codes, wrong = shortcomings(documents=24, seed=1)
    assert wrong == []
    assert set(codes) == {"0", "2"} and codes["2"] > codes["0"] / 2  # or the damage has tested nothing
