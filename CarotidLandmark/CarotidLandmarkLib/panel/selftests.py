"""The module's self-tests: what Slicer's own build runs, each test for itself."""

import math
import tempfile
import time
from pathlib import Path

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .. import scene
from ..bundle import resources_directory
from ..dataset import Dataset, read_draft
from ..job import DetectionFailed
from ..markups import read_markups
from ..volume import read_volume
from .cases import CaseInScene
from .install import ensure_dependencies
from .logic import CarotidLandmarkLogic


class CarotidLandmarkTest(ScriptedLoadableModuleTest):
    """The module with the scan and the model that come with it. Each test stands alone, on an empty scene."""

    PASSES = 4
    _found = None  # the detection on the bundled scan: the same in every test, so made once

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.logic = CarotidLandmarkLogic()

    def tearDown(self):
        self.logic.cleanup()

    def runTest(self):
        """Everything at once, for the application's button Reload and Test."""
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            getattr(self, name)()
            self.tearDown()

    def samplePath(self):
        return min((resources_directory() / "SampleData").glob("*.nrrd"))

    def assertNear(self, one, other, mm):
        """Two places are there, and less than so many millimetres apart."""
        assert one is not None and other is not None
        self.assertLess(math.dist(one, other), mm)

    def loadSample(self):
        return scene.add_volume(slicer.mrmlScene, read_volume(self.samplePath()))

    def showDetection(self):
        """The bundled scan with its detection in the scene: (volume node, nodes)."""
        volumeNode = self.loadSample()
        if CarotidLandmarkTest._found is None:
            try:
                ensure_dependencies()
            except DetectionFailed as reason:
                self.skipTest(str(reason))
            CarotidLandmarkTest._found = self.logic.detect(volumeNode, passes=self.PASSES)
        return volumeNode, self.logic.show(volumeNode, CarotidLandmarkTest._found)

    def test_detect_finds_both_bifurcations_of_the_bundled_scan(self):
        _volumeNode, nodes = self.showDetection()
        truth = read_markups(self.samplePath().with_suffix(".truth.mrk.json"), scene.LABELS)
        for landmark in nodes.detection.landmarks:
            self.assertEqual(landmark.status, "detected")
            self.assertNear(landmark.position_lps_mm, truth[landmark.name], 5.0)

    def test_markups_are_named_fixed_and_where_the_detection_says(self):
        _volumeNode, nodes = self.showDetection()
        self.assertEqual(nodes.points.GetNumberOfControlPoints(), len(nodes.detection.landmarks))
        self.assertTrue(nodes.points.GetFixedNumberOfControlPoints())
        for index, landmark in enumerate(nodes.detection.landmarks):
            self.assertEqual(nodes.points.GetNthControlPointLabel(index), landmark.name[0].upper())
            self.assertNear(scene.position_lps(nodes, index), landmark.position_lps_mm, 1e-6)
            left, posterior, superior = landmark.position_lps_mm
            world = [0.0] * 3
            nodes.points.GetNthControlPointPositionWorld(index, world)
            self.assertNear(world, (-left, -posterior, superior), 1e-6)

    def test_ellipsoids_lie_around_their_points_and_are_as_large_as_reported(self):
        _volumeNode, nodes = self.showDetection()
        for landmark in nodes.detection.landmarks:
            measure = vtk.vtkMassProperties()
            triangles = vtk.vtkTriangleFilter()
            triangles.SetInputData(nodes.ellipsoids[landmark.name].GetPolyData())
            measure.SetInputConnection(triangles.GetOutputPort())
            self.assertAlmostEqual(measure.GetVolume() / landmark.confidence.volume_mm3, 1.0, delta=0.02)
            centre = nodes.ellipsoids[landmark.name].GetPolyData().GetCenter()
            self.assertNear(scene.to_ras(centre), landmark.position_lps_mm, 0.1)

    def test_points_follow_the_transform_of_their_scan(self):
        volumeNode, nodes = self.showDetection()
        before, after = [0.0] * 3, [0.0] * 3
        nodes.points.GetNthControlPointPositionWorld(0, before)
        transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(2, 3, 30.0)
        transformNode.SetMatrixTransformToParent(matrix)
        volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
        nodes.points.GetNthControlPointPositionWorld(0, after)
        self.assertNear(after, (before[0], before[1], before[2] + 30.0), 1e-6)

    def test_a_review_is_shown_on_the_point_and_can_be_undone(self):
        _volumeNode, nodes = self.showDetection()
        scene.review.mark_missing(nodes, 0)
        self.assertFalse(nodes.points.GetNthControlPointSelected(0))
        self.assertIsNone(scene.position_lps(nodes, 0))
        scene.review.undo(nodes)
        self.assertTrue(nodes.points.GetNthControlPointSelected(0))
        self.assertNear(scene.position_lps(nodes, 0), nodes.detection.landmarks[0].position_lps_mm, 1e-6)

    def test_scene_and_review_survive_saving_and_opening(self):
        _volumeNode, nodes = self.showDetection()
        scene.review.accept(nodes, 0)
        scene.review.mark_missing(nodes, 1)
        detection, place = nodes.detection, scene.position_lps(nodes, 0)
        with tempfile.TemporaryDirectory() as folder:
            scene.write_bundle(slicer.mrmlScene, Path(folder) / "saved.mrb")
            slicer.mrmlScene.Clear(0)
            self.assertTrue(slicer.mrmlScene.ReadFromMRB(str(Path(folder) / "saved.mrb")))
        (again,) = scene.find_detections(slicer.mrmlScene)
        self.assertEqual(again.detection, detection)
        self.assertNear(scene.position_lps(again, 0), place, 1e-3)
        self.assertIsNone(scene.position_lps(again, 1))
        self.assertEqual(list(scene.review.review_of(again).status.values()), ["accepted", "missing"])

    def test_work_on_a_case_of_a_dataset_is_a_draft_until_it_is_saved(self):
        with tempfile.TemporaryDirectory() as folder:
            dataset = Dataset.create(Path(folder) / "necks", tuple(scene.LABELS))
            case = dataset.case(dataset.add_case(self.samplePath()))
            shown = CaseInScene(self.logic.show, lambda: None)
            shown.dataset, shown.annotator = dataset, "reader-1"
            self.assertIn("No model", shown.open(case, lambda volumeNode: None))
            shown_now = shown.find()
            assert shown_now is not None
            _case, nodes = shown_now
            scene.review.bring_back(nodes, 0, (20.0, -8.0, 4.0))
            scene.review.accept(nodes, 1)
            shown.keep()
            draft = read_draft(case, "reader-1")
            assert draft is not None
            self.assertEqual(list(draft.landmarks.values()), [("corrected", (20.0, -8.0, 4.0)), ("accepted", None)])
            self.assertEqual(case.annotators(), [])
            shown.save(case, nodes)
            saved = case.annotation("reader-1")
            self.assertEqual(list(saved.points.values()), [(20.0, -8.0, 4.0), None])
            self.assertEqual(list(saved.status.values()), ["corrected", "missing"])
            self.assertIsNone(read_draft(case, "reader-1"))

    def test_cancel_returns_at_once_and_leaves_the_scene_alone(self):
        volumeNode = self.loadSample()
        before = slicer.mrmlScene.GetNumberOfNodes()
        ends = []
        self.logic.start(volumeNode, self.logic.settings(passes=500), True, None, lambda *end: ends.append(end))
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            slicer.app.processEvents()
            time.sleep(0.01)
        began = time.monotonic()
        self.logic.cancel()
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertFalse(self.logic.running)
        self.assertIsNone(ends[0][0])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_bad_input_is_refused_in_one_sentence(self):
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        for node, words in ((None, "No volume"), (segmentation, "not a scalar volume"), (empty, "no voxels")):
            with self.assertRaisesRegex(scene.SceneError, words):
                self.logic.detect(node)
