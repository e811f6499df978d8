"""The networks: a Loc-Net for each scale, their chain, the multi-resolution view of a scan, and the search in it."""

from .chain import Architecture, MultiScaleLocNet
from .pyramid import Pyramid

__all__ = ["Architecture", "MultiScaleLocNet", "Pyramid"]
