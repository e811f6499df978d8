"""Points that the tests of datasets place."""

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
POINTS = {LEFT: (30.0, 3.0, 4.0), RIGHT: (-30.0, 0.0, 0.0)}
ACCEPTED = {LEFT: "accepted", RIGHT: "accepted"}
