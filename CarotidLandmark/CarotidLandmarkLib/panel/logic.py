"""The module's logic: detections for the panel and for Python callers, their place in the scene, their parameters."""

import shutil
import sys
import time
import weakref
from typing import Annotated, Any

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .. import scene
from ..bundle import BundleError, available_bundles
from ..detection import DEFAULTS
from ..job import DetectionCancelled, DetectionFailed, DetectionJob, JobSettings
from ..scene import review as scene_review
from .follower import Follower
from .results import at_level
from .words import timer

POLL_MS = 50


@parameterNodeWrapper
class CarotidLandmarkParameterNode:
    """What the panel is set to; saved with the scene. ``model`` is a bundle's name and version."""

    inputVolume: vtkMRMLScalarVolumeNode
    model: str
    device: str = "auto"
    passes: Annotated[int, WithinRange(2, 500)] = DEFAULTS.passes
    level: Annotated[float, WithinRange(0.5, 0.99)] = DEFAULTS.level
    seed: Annotated[int, WithinRange(0, 2147483647)] = DEFAULTS.seed
    opacity: Annotated[float, WithinRange(0, 1)] = 0.5
    annotator: str
    datasetFolder: str
    order: str = "uncertain"


class CarotidLandmarkLogic(ScriptedLoadableModuleLogic):
    """Detections for the panel and for Python: one at a time, in a child process; results in the scene.

    ``progress`` is how far the running one is; ``follower`` takes points along with their volume and sees corrections,
    None without `follow`. From Python: ``CarotidLandmarkLogic().detect(volumeNode)``; nothing of it stays.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.findModels()
        self.follower: Any = None
        self.progress = None
        self._job: Any = None
        poll: Any = weakref.WeakMethod(self._poll)  # or the timer would keep alive what nobody has any more
        self._timer = timer(lambda: poll()(), POLL_MS)

    def follow(self, moved):
        """Follow every detection in the scene, see `Follower`. Only the panel does: two take each other's changes."""
        self.follower = Follower(moved)

    def getParameterNode(self):
        return CarotidLandmarkParameterNode(super().getParameterNode())  # type: ignore[call-arg]

    def findModels(self):
        """Look again for the models that are here: ``bundles``."""
        self.bundles = available_bundles()

    def models(self):
        """The bundles by what they are called in the list: name and version, and where two have the same, the weights'.

        The same weights are listed once.
        """
        models: dict[str, Any] = {}
        for bundle in self.bundles:
            about = bundle.metadata
            title = f"{about.name} {about.version}"
            if title in models and models[title].metadata.weights_sha256 != about.weights_sha256:
                title += f" ({about.weights_sha256[:8]})"
            models.setdefault(title, bundle)
        return models

    def landmarks(self):
        """What each model finds: names by what the model is called in the list."""
        return {
            title: tuple(each.name for each in bundle.metadata.landmarks) for title, bundle in self.models().items()
        }

    @property
    def running(self):
        return self._job is not None

    def volumes(self):
        """The scans in the scene (``stepCase`` goes through them), in the scene's order."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        # not label maps nor colour volumes, which are kinds of scalar volumes: the selector does not list them either
        plain = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
        return [node for node in plain if not node.GetHideFromEditors()]

    def settings(self, model="", passes=DEFAULTS.passes, level=DEFAULTS.level, seed=DEFAULTS.seed, device="auto"):
        """Settings for `start`; ``model`` is a bundle's title, empty for the first. Raises BundleError."""
        for title, bundle in self.models().items():
            if model in ("", title):
                return JobSettings(bundle.path, passes, level, seed, device)
        raise BundleError(_("There is no model '{name}'; choose one of the list.").format(name=model))

    def detect(self, volumeNode, keepReviewed=True, **settings):
        """Detect, put the result into the scene and return the Detection when it is there; the window stays alive.

        ``settings``: of `settings`, by name. Points that somebody has reviewed stay as they are unless
        ``keepReviewed`` is False. Raises SceneError or BundleError for input that can not be used, DetectionFailed with
        a sentence, DetectionCancelled.
        """
        outcome = []
        self.start(volumeNode, self.settings(**settings), keepReviewed, None, lambda *end: outcome.append(end))
        while not outcome:
            slicer.app.processEvents()
            time.sleep(0.01)
        nodes, message = outcome[0]
        if nodes is None:
            raise (DetectionFailed(message) if message != cancelledText() else DetectionCancelled())
        return nodes.detection

    def start(self, volumeNode, settings, keepReviewed, onProgress, onEnd):
        """Begin a detection and return. ``onProgress(JobProgress)``; ``onEnd(nodes or None, sentence)`` exactly once.

        Raises SceneError for a node that can not be used and DetectionFailed while another detection runs.
        """
        if self.running:
            raise DetectionFailed(_("A detection is running already; wait for it or cancel it first."))
        voxels, affine, name = scene.scan_from_node(volumeNode)
        nodes = scene.find_detection(volumeNode)
        asked = {} if keepReviewed or nodes is None else scene.reviewed_landmarks(nodes)
        self._job = DetectionJob(voxels, affine, name, settings, pythonExecutable())
        self._volume, self._frame, self._asked = volumeNode, affine, asked
        self._voxels = scene.fingerprint(volumeNode)
        self._onProgress, self._onEnd = onProgress, onEnd
        self.progress = self._job.progress
        self._timer.start()

    def cancel(self):
        """Stop the running detection, if any; the scene is as it was before it began."""
        if self.running:
            self._end(None, cancelledText())

    def _poll(self):
        if not self.running or slicer.mrmlScene.IsBatchProcessing():  # in a scene that is half loaded nothing is found
            return
        if self._volume.GetScene() is None:
            self._end(None, _("The scan was removed from the scene; the detection was stopped."))
            return
        try:
            detection = self._job.poll()
        except DetectionFailed as error:
            self._end(None, str(error))
            return
        if detection is not None and scene.fingerprint(self._volume) != self._voxels:
            self._end(None, _("The voxels of the scan were changed while the detection ran; detect again."))
        elif detection is not None:
            message = " ".join(self._job.notes) or _("Done.")
            self._end(self.show(self._volume, detection, self._asked, self._frame), message)
        elif self._job.progress != self.progress:
            self.progress = self._job.progress
            if self._onProgress:
                self._onProgress(self.progress)

    def _end(self, nodes, message):
        self._timer.stop()
        job, self._job = self._job, None
        job.cancel()
        onEnd, self._onEnd, self._onProgress, self._volume = self._onEnd, None, None, None
        onEnd(nodes, message)

    def show(self, volumeNode, detection, replaced=None, frame=None):
        """Put ``detection`` into the scene, in place of an older one of the same scan. Returns the nodes.

        Points that somebody has reviewed stay, but those that are still as in ``replaced``, which
        `scene.reviewed_landmarks` gave. ``frame``: the scan's affine to LPS [4, 4] when it was given to the detector,
        if it may have moved since.
        """
        nodes = scene.find_detection(volumeNode)
        if nodes is None:
            nodes = scene.add_detection(volumeNode, detection, frame_lps=frame)
            scene_review.write_review(nodes, scene_review.review_of(nodes))
        else:
            keep = set(scene.reviewed_landmarks(nodes).items()) - set((replaced or {}).items())
            nodes = scene_review.replace_detection(nodes, detection, [name for name, _word in keep], frame)
        if self.follower is not None:
            self.follower.follow(nodes)
        return nodes

    def cleanup(self):
        """Stop everything; nothing is followed any more."""
        self.cancel()
        if self.follower is not None:
            self.follower.release()

    def setLevel(self, nodes, level):
        """Redraw the regions for another confidence level, without detecting again. Returns a sentence, or nothing."""
        detection = nodes.detection
        regions = [mark.confidence for mark in detection.landmarks if mark.confidence is not None]
        if all(abs(region.level - level) < 1e-6 for region in regions):
            return ""
        for bundle in self.bundles:
            if bundle.metadata.info == detection.model:
                try:
                    scene.show_detection(nodes, at_level(detection, level, bundle))
                except ValueError as error:
                    return str(error)
                scene_review.write_review(nodes, scene_review.review_of(nodes))
                return ""
        words = _("The model {name} {version} is not installed here, so the ellipsoids keep their level.")
        return words.format(name=detection.model.name, version=detection.model.version)


def cancelledText():
    return _("Cancelled. The scene is as it was.")


def pythonExecutable():
    """The interpreter of the child process: PythonSlicer in the application."""
    return shutil.which("PythonSlicer") or sys.executable
