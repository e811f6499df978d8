"""A detection in Slicer's scene, RAS: its nodes, how they are looked at, what an annotator says of them. No Qt."""

from .display import attend, follow_vessels
from .nodes import DetectionNodes, find_detection, find_detections, remove_detection, remove_volume, unreadable
from .pictures import save_scene
from .points import (
    axial_slice,
    frame_of,
    geometry_of,
    is_unset,
    lps_from_world,
    position_lps,
    position_ras,
    reach_mm,
    set_position,
    voxels_changed,
    world_ras,
)
from .regions import TABLE_COLUMNS, add_detection, follow_volume, show_detection
from .review import (
    LEAST_MOVE_MM,
    Review,
    moved_mm,
    names_of,
    restore_landmarks,
    review_of,
    reviewed_landmarks,
    same_landmarks,
    settle,
    write_review,
)
from .strip import follow_strip, leave_strip, register_strip, show_strip, strip_shown
from .volumes import (
    SceneError,
    add_volume,
    affine_of,
    fingerprint,
    scan_from_node,
    to_ras,
    volume_from_node,
    voxels_from_node,
    write_bundle,
)
from .windows import next_window
