"""The module's self-tests: what Slicer's own build runs, each test for itself."""

import gc
import logging
import math
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from unittest import SkipTest

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .. import scene
from ..bundle import resources_directory
from ..dataset import Dataset, read_draft
from ..job import DetectionFailed
from ..landmarks import LABELS
from ..markups import read_markups
from ..volume import read_volume
from .cases import CaseInScene
from .install import ensure_dependencies, in_words
from .logic import CarotidLandmarkLogic
from .words import question_box


class CarotidLandmarkTest(ScriptedLoadableModuleTest):
    """The module with the scan and the model that come with it. Each test stands alone, on an empty scene."""

    PASSES = 4
    _found = None  # the detection on the bundled scan: the same in every test, so made once

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.logic = CarotidLandmarkLogic()
        self.logic.follow(lambda nodes, landmarks: None)

    def tearDown(self):
        self.logic.cleanup()

    def runTest(self):
        """Everything at once, for the application's button Reload and Test."""
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            try:
                getattr(self, name)()
            except SkipTest as reason:
                logging.getLogger(__name__).info("%s is left out: %s", name, reason)
            finally:
                self.tearDown()

    def samplePath(self):
        return min((resources_directory() / "SampleData").glob("*.nrrd"))

    def assertNear(self, one, other, mm):
        """Two places are there, and less than so many millimetres apart."""
        assert one is not None and other is not None
        self.assertLess(math.dist(one, other), mm)

    def letRun(self, seconds):
        """Let the event loop turn for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)

    def loadSample(self):
        return scene.add_volume(slicer.mrmlScene, read_volume(self.samplePath()))

    def needDetector(self):
        """Leave the test out where nothing can be detected, as on a machine that only builds."""
        try:
            ensure_dependencies()
        except DetectionFailed as reason:
            self.skipTest(str(reason))

    def showDetection(self):
        """The bundled scan with its detection in the scene: (volume node, nodes)."""
        volumeNode = self.loadSample()
        if CarotidLandmarkTest._found is None:
            self.needDetector()
            CarotidLandmarkTest._found = self.logic.detect(volumeNode, passes=self.PASSES)
        return volumeNode, self.logic.show(volumeNode, CarotidLandmarkTest._found)

    def test_detect_finds_both_bifurcations_of_the_bundled_scan(self):
        _volumeNode, nodes = self.showDetection()
        truth = read_markups(self.samplePath().with_suffix(".truth.mrk.json"), LABELS)
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
            world = nodes.points.GetNthControlPointPositionWorld(index)
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
        x, y, z = nodes.points.GetNthControlPointPositionWorld(0)
        transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(2, 3, 30.0)
        transformNode.SetMatrixTransformToParent(matrix)
        volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
        self.logic.follower.settle()
        self.assertNear(nodes.points.GetNthControlPointPositionWorld(0), (x, y, z + 30.0), 1e-6)

    def test_points_that_are_put_under_a_transform_of_their_own_count_as_moved_by_hand(self):
        _volumeNode, nodes = self.showDetection()
        transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(2, 3, 30.0)
        transformNode.SetMatrixTransformToParent(matrix)
        x, y, z = nodes.points.GetNthControlPointPositionWorld(0)
        nodes.points.SetAndObserveTransformNodeID(transformNode.GetID())
        self.logic.follower.settle()
        self.assertNear(nodes.points.GetNthControlPointPositionWorld(0), (x, y, z + 30.0), 1e-6)
        self.assertIsNone(nodes.points.GetParentTransformNode())
        self.assertEqual(set(scene.review.review_of(nodes).status.values()), {"corrected"})

    def test_points_stay_on_the_anatomy_when_their_scan_is_cropped_in_place(self):
        volumeNode, nodes = self.showDetection()
        before = nodes.points.GetNthControlPointPositionWorld(0)
        crop = vtk.vtkImageClip()
        crop.SetInputData(volumeNode.GetImageData())
        crop.SetOutputWholeExtent(10, 90, 20, 100, 30, 110)
        crop.ClipDataOn()
        change = vtk.vtkImageChangeInformation()
        change.SetInputConnection(crop.GetOutputPort())
        change.SetOutputExtentStart(0, 0, 0)
        change.Update()
        matrix, corner = vtk.vtkMatrix4x4(), [0.0] * 4
        volumeNode.GetIJKToRASMatrix(matrix)
        matrix.MultiplyPoint((10.0, 20.0, 30.0, 1.0), corner)
        volumeNode.SetAndObserveImageData(change.GetOutput())
        volumeNode.SetOrigin(corner[:3])
        self.logic.follower.settle()
        self.assertNear(nodes.points.GetNthControlPointPositionWorld(0), before, 1e-6)

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
            dataset = Dataset.create(Path(folder) / "necks", tuple(LABELS))
            case = dataset.case(dataset.add_case(self.samplePath()))
            shown = CaseInScene(self.logic.show, lambda: None)
            shown.dataset, shown.annotator = dataset, "reader-1"
            self.assertIn("No model", shown.open(case, lambda volumeNode: None))
            _case, nodes = shown.find()  # type: ignore[misc]
            place = tuple(case.geometry.centre_lps.tolist())
            scene.review.bring_back(nodes, 0, place)
            scene.review.accept(nodes, 1)
            shown.keep()
            draft = read_draft(case, "reader-1")
            assert draft is not None
            self.assertEqual(list(draft.landmarks.values()), [("corrected", place), ("accepted", None)])
            self.assertEqual(case.annotators(), [])
            shown.save(case, nodes)
            saved = case.annotation("reader-1")
            self.assertEqual(list(saved.points.values()), [place, None])
            self.assertEqual(list(saved.status.values()), ["corrected", "missing"])
            self.assertIsNone(read_draft(case, "reader-1"))

    def test_cancel_returns_at_once_and_leaves_the_scene_alone(self):
        volumeNode = self.loadSample()
        before = slicer.mrmlScene.GetNumberOfNodes()
        ends = []
        self.logic.start(volumeNode, self.logic.settings(passes=500), True, None, lambda *end: ends.append(end))
        self.letRun(1.0)
        began = time.monotonic()
        self.logic.cancel()
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertFalse(self.logic.running)
        self.assertIsNone(ends[0][0])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_a_question_can_be_put_with_a_default_and_a_button_for_escape(self):
        yes, no = qt.QMessageBox.Yes, qt.QMessageBox.No
        box = question_box("Go on?", yes | no, "", yes, no)
        self.assertEqual(box.text, "Go on?")
        self.assertIsNotNone(box.defaultButton())
        self.assertIsNotNone(box.escapeButton())
        box.deleteLater()

    def test_nodes_that_have_left_the_scene_are_let_go(self):
        volumeNode, nodes = self.showDetection()
        gone = [weakref.ref(volumeNode), weakref.ref(nodes.points)]
        scene.remove_volume(volumeNode)
        self.logic.follower.follow_all()
        del volumeNode, nodes
        gc.collect()
        self.assertEqual([each() for each in gone], [None, None])

    def test_what_the_user_has_put_into_the_folder_of_a_detection_stays(self):
        _volumeNode, nodes = self.showDetection()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.points))
        mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "mine")
        item = hierarchy.GetItemByDataNode(mine) or hierarchy.CreateItem(folder, mine)
        hierarchy.SetItemParent(item, folder)
        scene.remove_detection(nodes)
        self.assertIs(mine.GetScene(), slicer.mrmlScene)
        self.assertIsNone(nodes.points.GetScene())

    def test_a_point_that_was_cleared_deleted_or_renamed_is_there_again_and_counts_as_not_placed(self):
        _volumeNode, nodes = self.showDetection()
        nodes.points.UnsetNthControlPointPosition(0)
        nodes.points.SetNthControlPointLabel(1, "another")
        self.logic.follower.settle()
        self.assertTrue(scene.is_unset(nodes, 0))
        self.assertEqual(scene.review.review_of(nodes).status[nodes.detection.landmarks[0].name], "predicted")
        self.assertEqual(nodes.points.GetNthControlPointLabel(1), nodes.detection.landmarks[1].name[0].upper())
        nodes.points.RemoveAllControlPoints()
        self.logic.follower.settle()
        self.assertEqual(nodes.points.GetNumberOfControlPoints(), len(nodes.detection.landmarks))
        scene.review.reset(nodes, 1)
        self.assertNear(scene.position_lps(nodes, 1), nodes.detection.landmarks[1].position_lps_mm, 1e-6)

    def test_points_go_with_a_scan_that_is_centred_and_keep_their_place_in_its_image(self):
        volumeNode, nodes = self.showDetection()
        x, y, z = volumeNode.GetOrigin()
        volumeNode.SetOrigin(x + 10.0, y, z + 25.0)
        self.logic.follower.settle()
        drawn = nodes.points.GetNthControlPointPositionWorld(0)
        left, posterior, superior = nodes.detection.landmarks[0].position_lps_mm
        self.assertNear(drawn, (-left + 10.0, -posterior, superior + 25.0), 1e-3)
        self.assertNear(scene.position_lps(nodes, 0), (left, posterior, superior), 1e-3)

    def test_points_in_another_order_keep_their_names(self):
        _volumeNode, nodes = self.showDetection()
        nodes.points.SwapControlPoints(0, 1)
        self.logic.follower.settle()
        for index, landmark in enumerate(nodes.detection.landmarks):
            self.assertNear(scene.position_lps(nodes, index), landmark.position_lps_mm, 1e-3)

    def test_after_a_second_detection_undo_does_not_go_back_before_it(self):
        volumeNode, nodes = self.showDetection()
        scene.review.mark_missing(nodes, 0)
        self.logic.show(volumeNode, nodes.detection, scene.reviewed_landmarks(nodes))
        self.assertFalse(scene.review.can_undo(nodes))
        self.assertNear(scene.position_lps(nodes, 0), nodes.detection.landmarks[0].position_lps_mm, 1e-6)

    def test_a_colour_volume_is_no_scan(self):
        colour = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
        self.assertEqual([node for node in self.logic.volumes() if node is colour], [])

    def test_an_installation_that_fails_is_a_sentence(self):
        with self.assertRaisesRegex(DetectionFailed, "could not be installed"), in_words("safetensors"):
            raise subprocess.CalledProcessError(1, "pip")

    def test_after_cancel_nothing_of_the_detection_is_left(self):
        self.needDetector()
        volumeNode = self.loadSample()
        usual = tempfile.tempdir
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            tempfile.tempdir = folder
            try:
                self.logic.start(volumeNode, self.logic.settings(passes=500), True, None, lambda nodes, message: None)
                self.letRun(3.0)
                self.assertEqual(len(list(Path(folder).iterdir())), 1)
                self.logic.cancel()
                self.assertEqual(list(Path(folder).iterdir()), [])
            finally:
                tempfile.tempdir = usual

    def test_bad_input_is_refused_in_one_sentence(self):
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        for node, words in ((None, "No volume"), (segmentation, "not a scalar volume"), (empty, "no voxels")):
            with self.assertRaisesRegex(scene.SceneError, words):
                self.logic.detect(node)
