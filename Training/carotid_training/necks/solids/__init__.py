"""Cones and ellipsoids, and how they are painted onto a grid."""
