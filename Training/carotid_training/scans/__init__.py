"""A neck in a scanner: seeds, acquisition, images."""
