"""The scripted module: both carotid bifurcations in CT angiography of the neck, with calibrated uncertainty."""

import sys
from pathlib import Path

import qt
import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.bundle import BundleError, resources_directory
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import file_sha256
from CarotidLandmarkLib.job import DetectionCancelled
from CarotidLandmarkLib.panel.dataset import DatasetPanel
from CarotidLandmarkLib.panel.follower import Observations
from CarotidLandmarkLib.panel.install import ensure_dependencies
from CarotidLandmarkLib.panel.logic import POLL_MS, CarotidLandmarkLogic
from CarotidLandmarkLib.panel.results import ResultsTable, advice_html, nothing_words, progress_words
from CarotidLandmarkLib.panel.review import ReviewPanel, ask_to_keep_reviewed
from CarotidLandmarkLib.panel.selftests import CarotidLandmarkTest  # noqa: F401 - Slicer looks for it here
from CarotidLandmarkLib.panel.words import rendering_logic, timer
from CarotidLandmarkLib.scene import display as scene_display
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

DEVICES = ["auto", "cpu", "cuda", "mps"]
SESSION = ["annotator", "datasetFolder", "order"]  # parameters of who sits here, not of a scene


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
        slicer.app.connect("startupCompleted()", registerStrip)


def registerStrip():
    """Make the layout Seven slices known: a scene saved with it shows no views where it is not."""
    scene.register_strip(slicer.mrmlScene)


def registerSampleData():
    """Offer the scans that come with the extension in the Sample Data module; nothing is downloaded."""
    import SampleData

    icons = Path(__file__).parent / "Resources" / "Icons"
    try:
        paths = sorted((resources_directory() / "SampleData").glob("*.nrrd"))
    except BundleError:  # the panel says it
        return
    for path in paths:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Carotid Landmark",
            sampleName=path.stem,
            thumbnailFileName=str(icons / "CarotidLandmark.png"),
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=path.stem,
            checksums=f"SHA256:{file_sha256(path)}",  # another scan of that name is not taken from the cache
        )


class CarotidLandmarkWidget(ScriptedLoadableModuleWidget):
    """The panel. It shows what is in the scene; all work is the logic's.

    Its parts are given the widget itself. ``parameters``: the scene's parameter node, None while another module is
    open; ``nodes``: the detection shown, or None; ``ended``: nothing of the panel may be there any more, nor other
    modules.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = self.parameters = self.nodes = self._guiTag = None
        self.ended = False
        self._session = None  # what stays while the scene is closed, or another is added
        self._input = None  # the scan that is chosen, as last seen
        self._bulk = timer(self.onBulkEnds)  # active while nodes come and go in bulk, as those of a scene
        self._sceneObservations, self._parameterObservations = Observations(), Observations()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/CarotidLandmark.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = CarotidLandmarkLogic()
        self.logic.follow(self.onPointsMoved)
        self.table = ResultsTable(self.ui.resultsTable, self.onRowSelected)
        self.review = ReviewPanel(self)
        self.dataset = DatasetPanel(self)
        registerStrip()
        self.fillModels()
        self.ui.deviceComboBox.addItems(DEVICES)
        self.ui.modelComboBox.currentTextChanged.connect(lambda text: self.onChoice("model", text))
        self.ui.deviceComboBox.currentTextChanged.connect(lambda text: self.onChoice("device", text))
        self.ui.detectButton.clicked.connect(self.onDetectButton)
        self.ui.vesselsButton.clicked.connect(self.onVesselsButton)
        for event, callback in (
            (slicer.mrmlScene.StartBatchProcessEvent, lambda *_: self._bulk.start(0)),
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneReplaced),
            (slicer.mrmlScene.StartImportEvent, self.onSceneStartImport),
            (slicer.mrmlScene.EndImportEvent, self.onSceneReplaced),
            (slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeGoes),
            (slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved),
        ):
            self._sceneObservations.add(slicer.mrmlScene, event, callback)
        self.logic.follower.follow_all()
        self.initializeParameterNode()
        if self.parent.isEntered:  # Reload: nobody calls enter
            self.review.install_keys(slicer.util.mainWindow())

    def fillModels(self):
        """List the models; the parameter node knows which one is chosen, so filling chooses none."""
        self.ui.modelComboBox.blockSignals(True)
        self.ui.modelComboBox.clear()
        self.ui.modelComboBox.addItems(list(self.logic.models()))
        self.ui.modelComboBox.blockSignals(False)

    def cleanup(self):
        self.ended = True
        self.logic.cleanup()
        self.dataset.cancel()
        self.exit()
        self._bulk.stop()
        self._sceneObservations.release()

    def onReload(self):
        """Reload the library, too: Slicer itself reloads this file alone."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "CarotidLandmarkLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        self.logic.findModels()  # one that was trained meanwhile is listed without a restart
        self.fillModels()
        self.initializeParameterNode()
        self.review.install_keys(slicer.util.mainWindow())

    def exit(self):
        self.review.remove_keys()
        self.leaveParameterNode()

    def leaveParameterNode(self):
        if self.parameters:
            self.parameters.disconnectGui(self._guiTag)
            self._parameterObservations.release()
            self.parameters = self._input = None

    def initializeParameterNode(self):
        """Follow the scene's own parameters; without an input yet, take the scan in the views, or the first one."""
        self.leaveParameterNode()
        self.parameters = self.logic.getParameterNode()
        self._guiTag = self.parameters.connectGui(self.ui)
        self._parameterObservations.add(self.parameters, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        volumes = self.logic.volumes()
        if not self.parameters.inputVolume and volumes:
            visible = scene_display.volumes_in_views(slicer.mrmlScene)
            self.parameters.inputVolume = next((node for node in visible if node in volumes), volumes[0])
        titles = list(self.logic.models())
        if titles and self.parameters.model not in titles:
            self.parameters.model = titles[0]
        self.onParametersChanged()

    def onBulkEnds(self):
        """Keep what has come, and ask about it, when no dialog is there, such as a load's progress."""
        if slicer.mrmlScene.IsBatchProcessing() or qt.QApplication.activeModalWidget() is not None:
            self._bulk.start(POLL_MS)
        else:
            self.refresh()

    def onSceneStartClose(self, caller, event):
        self.logic.cancel()
        self.watch(None)
        scene.leave_strip(slicer.mrmlScene)
        self.keepSession(["annotator"])

    def onSceneStartImport(self, caller, event):
        """A scene that is added says neither who sits here nor at which dataset, and need not choose a scan."""
        self.keepSession([*(SESSION if self.dataset.is_open else ["annotator"]), "inputVolume"])

    def keepSession(self, names):
        """Have these parameters again when the scene is another one."""
        parameters = self.logic.getParameterNode()
        self._session = {name: getattr(parameters, name) for name in names if getattr(parameters, name)}

    def onSceneReplaced(self, caller, event):
        session, self._session = self._session or {}, None
        parameters, chosen = self.logic.getParameterNode(), session.pop("inputVolume", None)
        for name, value in session.items():
            setattr(parameters, name, value)
        if chosen is not None and chosen.GetScene() is not None and parameters.inputVolume is None:
            parameters.inputVolume = chosen  # the selector has made its list anew, and then none is chosen
        self.logic.follower.follow_all()
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeGoes(self, caller, event, node):
        """Choose no scan where the one that is chosen goes, before the selector chooses its neighbour."""
        if self.parameters and node is self.parameters.inputVolume:
            if self.nodes is not None:
                self.nodes.points.SetLocked(True)  # no scan's any more
            self.parameters.inputVolume = None

    def onNodeRemoved(self, caller, event):
        nodes = self.nodes
        if nodes is None or all(node.GetScene() is not None for node in (nodes.volume, *nodes.all())):
            return
        nodes.points.SetLocked(True)  # if they are there still: no scan's any more
        self.watch(scene.find_detection(nodes.volume))  # without an ellipsoid, or the table
        self.refresh()

    def onChoice(self, name, text):
        if self.parameters and getattr(self.parameters, name) != text:
            setattr(self.parameters, name, text)

    def onParametersChanged(self, caller=None, event=None):
        if self._session is not None:
            return
        parameters = self.parameters
        self.ui.modelComboBox.setCurrentText(parameters.model)
        self.ui.deviceComboBox.setCurrentText(parameters.device)
        self.showScan()
        self.watch(scene.find_detection(parameters.inputVolume))
        if self.nodes is not None:
            scene_display.set_opacity(self.nodes, parameters.opacity)
            self.say(self.logic.setLevel(self.nodes, parameters.level))
        self.dataset.open_named_dataset()
        self.refresh()

    def showScan(self):
        """Have a scan that is newly chosen in the views, with its vessels where those of the scan before were seen."""
        before, self._input = self._input, self.parameters.inputVolume
        if self._input is not before:
            self.ui.statusLabel.setText("")  # it was about another scan
        if self._input is None or self._input is before:
            return
        self.bringIntoViews(self._input)
        if scene_display.vessels_shown(before):
            self.showVessels(before, False)
            self.showVessels(self._input, True)

    def bringIntoViews(self, volume):
        """Show a scan in all slice views; where one shows it already they stay as somebody has set them."""
        if volume not in scene_display.volumes_in_views(slicer.mrmlScene):
            slicer.util.setSliceViewerLayers(background=volume, fit=True)

    def watch(self, nodes):
        """Show the points of ``nodes`` (or of nothing): they can be moved, those of other scans can not."""
        self.nodes = nodes
        self.logic.follower.attend(nodes)

    def onPointsMoved(self, nodes, landmarks):
        if self.nodes is None and self.parameters and nodes.volume is self.parameters.inputVolume:
            self.watch(nodes)  # somebody else has made it, as in the console
        self.review.moved(nodes, landmarks)
        if landmarks and self.nodes is not None and nodes.points is self.nodes.points:
            scene.follow_strip(nodes, landmarks[-1])

    def onRowSelected(self, row):
        self.bringIntoViews(self.nodes.volume)
        scene_display.centre_views(self.nodes, row, slicer.modules.markups.logic())
        self.review.show()

    def onVesselsButton(self, *checked):
        volume = self.parameters.inputVolume
        self.showVessels(volume, not scene_display.vessels_shown(volume))
        self.refresh()

    def showVessels(self, volume, visible):
        try:
            if visible:
                scene.voxels_from_node(volume)
            scene_display.show_vessels(volume, rendering_logic(), visible)
        except UserError as error:
            self.say(str(error))

    def onStripButton(self):
        if scene.strip_shown(slicer.mrmlScene):
            scene.leave_strip(slicer.mrmlScene)
        elif self.nodes is None or not scene.show_strip(self.nodes, max(self.table.row(), 0)):
            self.say(_("Seven slices are shown about a point: detect, or select a landmark that has one."))
        self.refresh()

    def onWindowButton(self):
        if self.parameters.inputVolume is not None:
            self.say(scene.next_window(self.parameters.inputVolume))

    def stepCase(self, step):
        """Show the case ``step`` places further in the dataset; without one, the scan in the scene."""
        if self.dataset.is_open:
            self.dataset.step(step)
            return
        volumes = self.logic.volumes()
        if volumes:
            present = self.parameters.inputVolume
            place = volumes.index(present) if present in volumes else -step
            number = (place + step) % len(volumes)
            self.parameters.inputVolume = volumes[number]
            slicer.util.setSliceViewerLayers(background=volumes[number], fit=True)
            words = _("{name}, scan {n} of {all}")
            self.say(words.format(name=volumes[number].GetName(), n=number + 1, all=len(volumes)))
            self.selectFirst()

    def selectFirst(self):
        """All views go to the first point of the scan shown."""
        self.ui.resultsTable.setCurrentCell(-1, -1)
        self.review.step_landmark(1)

    def settings(self):
        """What the parameters say. Raises BundleError."""
        chosen = self.parameters
        return self.logic.settings(chosen.model, chosen.passes, chosen.level, chosen.seed, chosen.device)

    def onDetectButton(self, *checked):
        if self.logic.running:
            self.logic.cancel()
            return
        volume = self.parameters.inputVolume
        try:
            self.dataset.check_can_detect(self.parameters.model)
            scene.scan_from_node(volume)  # refused before anything is asked or installed
            settings = self.settings()
            keep = ask_to_keep_reviewed(scene.find_detection(volume), self.logic.landmarks()[self.parameters.model])
            ensure_dependencies()
            self.logic.start(volume, settings, keep, self.onProgress, self.onDetectionEnds)
        except DetectionCancelled:
            return
        except (UserError, OSError) as error:
            self.say(str(error))
            return
        self.onProgress(self.logic.progress)
        self.refresh()

    def onProgress(self, progress):
        self.ui.progressBar.setValue(round(100 * progress.fraction))
        self.say(progress_words(progress))

    def onDetectionEnds(self, nodes, message):
        if self.ended:
            return
        shown = self.parameters.inputVolume if self.parameters else None
        self.say(message if nodes is None or nodes.volume is shown else f"{nodes.volume.GetName()}: {message}")
        if nodes is not None:
            self.dataset.detected(nodes)
            self.watch(nodes if nodes.volume is shown else self.nodes)
            if nodes.volume is shown:
                self.say(self.logic.setLevel(nodes, self.parameters.level))  # of the slider, moved meanwhile
                scene_display.set_opacity(nodes, self.parameters.opacity)
                scene_display.peel_depth(slicer.mrmlScene)
        self.refresh()
        if nodes is not None and nodes is self.nodes:
            self.review.step_landmark(1)

    def say(self, text):
        self.ui.statusLabel.setText(text or self.ui.statusLabel.text)

    def refresh(self):
        """Keep what has changed, and bring the whole panel in line with scene and logic."""
        if self.ended:
            return
        self.logic.follower.settle()
        if not self._bulk.active:  # a question about a draft would stand in the middle of a load
            self.dataset.keep()
        if not self.parameters:  # another module is open; `enter` does the rest
            return
        running, volume = self.logic.running, self.parameters.inputVolume
        self.ui.detectButton.setText(_("Cancel") if running else _("Detect"))
        self.ui.detectButton.setEnabled(running or (volume is not None and bool(self.logic.bundles)))
        self.ui.progressBar.setVisible(running)
        strip = scene.strip_shown(slicer.mrmlScene)
        self.ui.vesselsButton.setEnabled(volume is not None)
        self.ui.windowButton.setEnabled(volume is not None)
        self.ui.stripButton.setEnabled(self.nodes is not None or strip)
        self.ui.stripButton.setChecked(strip)
        self.ui.vesselsButton.setChecked(scene_display.vessels_shown(volume))
        self.dataset.show()
        self.table.show(self.nodes)
        nothing = nothing_words(volume, self.logic.bundles)
        self.ui.adviceLabel.setText(nothing if self.nodes is None else advice_html(self.nodes))
        self.review.show()
