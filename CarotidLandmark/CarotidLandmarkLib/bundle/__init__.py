"""Models on disk: what they say of themselves, their weights, and where they lie. Needs no torch."""

from ..landmarks import LandmarkSpec
from .architecture import Architecture
from .bundle import CARD_FILE, METADATA_FILE, Bundle, check_place
from .metadata import BundleError, BundleMetadata, is_name
from .places import available_bundles, default_bundle, models_directory, open_bundle, resources_directory
