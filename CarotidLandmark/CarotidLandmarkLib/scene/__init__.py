"""A detection in Slicer's scene, RAS: its nodes, how they are looked at, what an annotator says of them. No Qt."""

from .nodes import (
    COLOURS,
    LABELS,
    TABLE_COLUMNS,
    DetectionNodes,
    SceneError,
    add_detection,
    add_volume,
    find_detection,
    find_detections,
    follow_volume,
    lps_from_world,
    place_predictions,
    position_lps,
    remove_detection,
    remove_volume,
    set_position,
    show_detection,
    to_ras,
    volume_from_node,
    voxels_from_node,
    write_bundle,
)
from .offscreen import save_scene
