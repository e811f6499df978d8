"""The scripted module: both carotid bifurcations in CT angiography of the neck, with calibrated uncertainty."""

from pathlib import Path

import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.bundle import BundleError, resources_directory
from CarotidLandmarkLib.dataset import DatasetError
from CarotidLandmarkLib.job import DetectionCancelled, DetectionFailed
from CarotidLandmarkLib.panel.dataset import DatasetPanel
from CarotidLandmarkLib.panel.importing import ImportPoints
from CarotidLandmarkLib.panel.install import ensure_dependencies
from CarotidLandmarkLib.panel.logic import CarotidLandmarkLogic, bundle_title
from CarotidLandmarkLib.panel.observations import Observations
from CarotidLandmarkLib.panel.results import ResultsTable, advice_html, progress_words
from CarotidLandmarkLib.panel.review import ReviewPanel, keep_reviewed
from CarotidLandmarkLib.panel.selftests import CarotidLandmarkTest  # noqa: F401 - Slicer looks for it here
from CarotidLandmarkLib.panel.words import rendering_logic
from CarotidLandmarkLib.scene import display as scene_display
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
)

DEVICES = ("auto", "cpu", "cuda", "mps")


class CarotidLandmark(ScriptedLoadableModule):
    """What the application shows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Carotid Landmark")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Vascular Modeling Toolkit")]
        parent.dependencies = []
        parent.contributors = ["CarotidLandmark contributors"]
        parent.helpText = _(
            "Finds the left and the right carotid bifurcation in CT angiography of the neck, with an ellipsoid around "
            "each that says how sure it is. Choose the scan, press Detect, look at the points, correct and accept "
            "them. Not for diagnosis."
        )
        parent.acknowledgementText = _(
            "The method is that of Ma, Gupta and Sabuncu, Volumetric landmark detection with a multi-scale shift "
            "equivariant neural network, ISBI 2020 (doi 10.1109/isbi45749.2020.9098620)."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the scans that come with the extension in the Sample Data module; nothing is downloaded."""
    import SampleData

    icons = Path(__file__).parent / "Resources" / "Icons"
    for path in sorted((resources_directory() / "SampleData").glob("*.nrrd")):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Carotid Landmark",
            sampleName=path.stem,
            thumbnailFileName=str(icons / "CarotidLandmark.png"),
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=path.stem,
        )


class CarotidLandmarkWidget(ScriptedLoadableModuleWidget):
    """The panel. It shows what is in the scene; all work is the logic's."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._nodes = None
        self._ended = False
        self._session = None  # annotator and dataset's folder, while a scene is added to them
        self._sceneObservations, self._parameterObservations = Observations(), Observations()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/CarotidLandmark.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = CarotidLandmarkLogic()
        self.table = ResultsTable(self.ui.resultsTable, self.onRowSelected)
        self.review = ReviewPanel(
            self.ui, lambda: (self._nodes, self.table.row()), self.table.select, self.refresh, self.stepCase, newPoint
        )
        self.dataset = DatasetPanel(
            self.ui, self.logic, self.review, lambda: self._parameterNode, self.say, self.refresh
        )
        self.review.add_action("7", self.ui.stripButton, self.onStripButton)
        self.review.add_action("W", self.ui.windowButton, self.onWindowButton)
        scene.register_strip(slicer.mrmlScene)
        self.importing = ImportPoints(self.ui, lambda: self._nodes, self.say, self.refresh)
        self.fillModels()
        for device in DEVICES:
            self.ui.deviceComboBox.addItem(device)
        self.ui.modelComboBox.currentTextChanged.connect(lambda text: self.onChoice("model", text))
        self.ui.deviceComboBox.currentTextChanged.connect(lambda text: self.onChoice("device", text))
        self.ui.detectButton.clicked.connect(self.onDetectButton)
        self.ui.vesselsButton.clicked.connect(self.onVesselsButton)
        self.logic.onPointsMoved = self.onPointsMoved
        for event, callback in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneReplaced),
            (slicer.mrmlScene.StartImportEvent, self.onSceneStartImport),
            (slicer.mrmlScene.EndImportEvent, self.onSceneReplaced),
            (slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved),
        ):
            self._sceneObservations.add(slicer.mrmlScene, event, callback)
        self.logic.adoptAll()
        self.initializeParameterNode()
        if self.parent.isEntered:  # Reload: nobody calls enter
            self.review.install_keys(slicer.util.mainWindow())

    def fillModels(self):
        """List the models; the parameter node knows which one is chosen, so filling chooses none."""
        self.ui.modelComboBox.blockSignals(True)
        self.ui.modelComboBox.clear()
        for bundle in self.logic.bundles:
            self.ui.modelComboBox.addItem(bundle_title(bundle))
        self.ui.modelComboBox.blockSignals(False)

    def cleanup(self):
        self._ended = True  # nothing of the panel may be there any more, nor other modules
        self.logic.cleanup()
        self.dataset.release()
        self.exit()
        self._sceneObservations.release()

    def enter(self):
        self.logic.findModels()  # one that was trained meanwhile is listed without a restart
        self.fillModels()
        self.initializeParameterNode()
        self.review.install_keys(slicer.util.mainWindow())

    def exit(self):
        self.review.remove_keys()
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self._guiTag = None
            self._parameterObservations.release()
            self._parameterNode = None

    def initializeParameterNode(self):
        """Follow the scene's own parameters; without an input yet, take the first scan there is."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterObservations.release()
        self._parameterNode = self.logic.getParameterNode()
        self._guiTag = self._parameterNode.connectGui(self.ui)
        self._parameterObservations.add(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        volumes = self.logic.volumes()
        if not self._parameterNode.inputVolume and volumes:
            self._parameterNode.inputVolume = volumes[0]
        titles = [bundle_title(bundle) for bundle in self.logic.bundles]
        if titles and self._parameterNode.model not in titles:
            self._parameterNode.model = titles[0]
        self.onParametersChanged()

    def onSceneStartClose(self, caller, event):
        self.logic.cancel()
        self.watch(None)

    def onSceneStartImport(self, caller, event):
        parameters = self._parameterNode
        if parameters and self.dataset.is_open:
            self._session = parameters.annotator, parameters.datasetFolder, parameters.order

    def onSceneReplaced(self, caller, event):
        if self._session is not None:  # a scene that is added says neither who sits here nor at what
            parameters = self.logic.getParameterNode()
            parameters.annotator, parameters.datasetFolder, parameters.order = self._session
            self._session = None
        self.logic.adoptAll()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onNodeRemoved(self, caller, event):
        nodes = self._nodes
        if nodes is None or all(node.GetScene() is not None for node in (nodes.volume, *nodes.all())):
            return
        self.watch(None)
        if nodes.volume.GetScene() is not None and nodes.points.GetScene() is not None:
            self.watch(scene.find_detection(nodes.volume))  # without an ellipsoid, or the table
        elif nodes.volume.GetScene() is not None and not slicer.mrmlScene.IsBatchProcessing():
            scene.remove_detection(nodes)  # the list of points was deleted: the rest of it goes too
        self.refresh()

    def onChoice(self, name, text):
        if self._parameterNode and getattr(self._parameterNode, name) != text:
            setattr(self._parameterNode, name, text)

    def onParametersChanged(self, caller=None, event=None):
        if self._session is not None:
            return
        parameters = self._parameterNode
        self.ui.modelComboBox.setCurrentText(parameters.model)
        self.ui.deviceComboBox.setCurrentText(parameters.device)
        self.watch(scene.find_detection(parameters.inputVolume))
        if self._nodes is not None:
            scene_display.set_opacity(self._nodes, parameters.opacity)
            self.say(self.logic.setLevel(self._nodes, parameters.level))
        self.dataset.follow_parameters()
        self.refresh()

    def watch(self, nodes):
        """Show the points of ``nodes`` (or of nothing): they can be moved, those of other scans can not."""
        self._nodes = nodes
        self.logic.adoptAll()
        if nodes is not None:
            for each in scene.find_detections(slicer.mrmlScene):
                each.points.SetLocked(each.points is not nodes.points)

    def onPointsMoved(self, nodes, landmarks):
        if self._parameterNode:
            self.review.moved(nodes, landmarks)
        if landmarks and self._nodes is not None and nodes.points is self._nodes.points:
            scene.follow_strip(nodes, landmarks[-1])

    def onRowSelected(self, row):
        scene_display.centre_views(self._nodes, row, slicer.modules.markups.logic())
        self.review.show()

    def onVesselsButton(self, *checked):
        volume = self._parameterNode.inputVolume
        logic = rendering_logic()
        if volume is not None and logic is not None:
            scene_display.peel_depth(slicer.mrmlScene)
            scene_display.show_vessels(volume, logic, not scene_display.vessels_shown(volume, logic))
        self.refresh()

    def onStripButton(self):
        if scene.strip_shown(slicer.mrmlScene):
            scene.leave_strip(slicer.mrmlScene)
        elif self._nodes is None or not scene.show_strip(self._nodes, max(self.table.row(), 0)):
            self.say(_("Seven slices are shown about a point: detect, or select a landmark that has one."))
        self.refresh()

    def onWindowButton(self):
        volume = self._parameterNode.inputVolume
        if volume is not None:
            self.say(scene.next_window(volume))

    def stepCase(self, step):
        """Show the case ``step`` places further in the dataset; without one, the scan in the scene."""
        if self.dataset.is_open:
            self.dataset.step(step)
            return
        volumes = self.logic.volumes()
        if volumes:
            present = self._parameterNode.inputVolume
            place = volumes.index(present) if present in volumes else -step
            volume = volumes[(place + step) % len(volumes)]
            self._parameterNode.inputVolume = volume
            slicer.util.setSliceViewerLayers(background=volume, fit=True)
            self.say(
                _("{name}, scan {n} of {all}").format(
                    name=volume.GetName(), n=volumes.index(volume) + 1, all=len(volumes)
                )
            )

    def onDetectButton(self, *checked):
        if self.logic.running:
            self.logic.cancel()
            return
        parameters = self._parameterNode
        try:
            self.dataset.check_model(parameters.model)
            keep = keep_reviewed(scene.find_detection(parameters.inputVolume))
            ensure_dependencies()
            self.logic.start(
                parameters.inputVolume,
                self.logic.settings(
                    parameters.model, parameters.passes, parameters.level, parameters.seed, parameters.device
                ),
                keep,
                self.onProgress,
                self.onDetectionEnds,
            )
        except DetectionCancelled:
            return
        except (scene.SceneError, BundleError, DatasetError, DetectionFailed, OSError) as error:
            self.say(str(error))
            return
        self.onProgress(self.logic.progress)
        self.refresh()

    def onProgress(self, progress):
        self.ui.progressBar.setValue(round(100 * progress.fraction))
        self.say(progress_words(progress))

    def onDetectionEnds(self, nodes, message):
        if self._ended:
            return
        self.say(message)
        if nodes is not None:
            self.dataset.detected(nodes)
        shown = self._parameterNode.inputVolume if self._parameterNode else None
        if nodes is not None and nodes.volume is shown:
            self.watch(nodes)
            scene_display.set_opacity(nodes, self._parameterNode.opacity)
            scene_display.peel_depth(slicer.mrmlScene)
        self.refresh()
        if nodes is not None and nodes is self._nodes:
            self.review.step_landmark(1)

    def say(self, text):
        self.ui.statusLabel.setText(text)

    def refresh(self):
        """Bring the whole panel in line with scene and logic."""
        if self._ended:
            return
        self.logic.settle()
        running = self.logic.running
        volume = self._parameterNode.inputVolume if self._parameterNode else None
        self.ui.detectButton.setText(_("Cancel") if running else _("Detect"))
        self.ui.detectButton.setEnabled(running or (volume is not None and bool(self.logic.bundles)))
        self.ui.progressBar.setVisible(running)
        self.ui.vesselsButton.setEnabled(volume is not None)
        self.ui.windowButton.setEnabled(volume is not None)
        self.ui.stripButton.setEnabled(self._nodes is not None or scene.strip_shown(slicer.mrmlScene))
        self.ui.stripButton.setChecked(scene.strip_shown(slicer.mrmlScene))
        self.ui.vesselsButton.setChecked(scene_display.vessels_shown(volume, rendering_logic()))
        self.dataset.show()
        self.table.show(self._nodes)
        if self._nodes is not None:
            self.ui.adviceLabel.setText(advice_html(self._nodes.detection))
        else:
            self.ui.adviceLabel.setText(_("Nothing has been detected in this scan yet."))
        self.review.show()


def newPoint(nodes):
    """Where a point begins that the detector did not find, LPS in the volume's frame: the middle of the axial slice."""
    toRAS = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceToRAS()
    world = [toRAS.GetElement(row, 3) for row in range(3)]
    return scene.lps_from_world(nodes, world)
