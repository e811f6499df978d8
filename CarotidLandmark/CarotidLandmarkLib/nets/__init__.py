"""The networks: a Loc-Net for each scale, their chain, the multi-resolution view of a scan, and the search in it."""

from ..bundle import Architecture
from .chain import MultiScaleLocNet, ScaleOutput
from .evidence import evidence_of
from .pyramid import Pyramid
from .search import SearchResult, seek
