"""Segmented carotids: label maps of any program, and where their lumens become two."""

from .carotids import ROLES, Role, carotid_forks, carotid_masks
from .fork import Fork, forks
from .lumens import Lumens
from .segments import Segmentation, SegmentationError, read_segmentation
