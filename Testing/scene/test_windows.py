"""Windows: round and round, and the scan's own comes back as it was."""

from __future__ import annotations

import pytest
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene.offscreen import Stage
from scene_cases import neck_volume


@pytest.fixture
def volume_node():
    stage = Stage()
    node = scene.add_volume(stage.scene, neck_volume(5.0))
    node.stage = stage  # lives as long
    return node


def shown(volume_node):
    display = volume_node.GetDisplayNode()
    return display.GetWindow(), display.GetLevel()


def test_a_scan_is_first_shown_so_that_lumen_calcium_and_wall_differ(volume_node):
    assert shown(volume_node) == (900, 300)


def test_windows_go_round_and_the_scan_s_own_comes_back_as_it_was(volume_node):
    volume_node.GetDisplayNode().SetWindowLevel(1234, 56)
    names = [scene.next_window(volume_node) for _ in range(4)]
    assert names == ["CTA 900 / 300", "soft tissue 400 / 50", "the scan's own 1234 / 56", "CTA 900 / 300"]
    assert shown(volume_node) == (900, 300)
    scene.next_window(volume_node)
    scene.next_window(volume_node)
    assert shown(volume_node) == (1234, 56)


def test_a_window_set_by_hand_is_the_one_that_comes_back(volume_node):
    volume_node.GetDisplayNode().SetWindowLevel(1234, 56)
    scene.next_window(volume_node)
    volume_node.GetDisplayNode().SetWindowLevel(777, 77)
    assert scene.next_window(volume_node) == "CTA 900 / 300"
    scene.next_window(volume_node)
    assert scene.next_window(volume_node) == "the scan's own 777 / 77"


def test_an_automatic_window_comes_back_as_automatic(volume_node):
    volume_node.GetDisplayNode().AutoWindowLevelOn()
    assert [scene.next_window(volume_node) for _ in range(2)] == ["CTA 900 / 300", "soft tissue 400 / 50"]
    assert not volume_node.GetDisplayNode().GetAutoWindowLevel()
    assert scene.next_window(volume_node).startswith("automatic ")
    assert volume_node.GetDisplayNode().GetAutoWindowLevel()


def test_a_scan_without_a_display_gets_one(volume_node):
    volume_node.RemoveAllDisplayNodeIDs()
    assert scene.next_window(volume_node) == "CTA 900 / 300"
    assert shown(volume_node) == (900, 300)
