"""What the application asks of the module: description, icon, sample data, manners about installing packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
import types
from pathlib import Path

import pytest
import slicer
from CarotidLandmarkLib.files import file_sha256
from CarotidLandmarkLib.job import DetectionFailed
from CarotidLandmarkLib.panel.install import ensure_dependencies
from CarotidLandmarkLib.volume import read_volume
from panel_steps import show

MODULE = Path(__file__).parents[3] / "CarotidLandmark"


@pytest.fixture
def without(monkeypatch):
    """Make it seem that a package is not installed."""
    there, version_of = importlib.util.find_spec, importlib.metadata.version

    def hide(name):
        def version(wanted):
            return version_of("not installed" if wanted == name else wanted)

        monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == name else there(wanted))
        monkeypatch.setattr(importlib.metadata, "version", version)

    return hide


@pytest.fixture
def intel_mac(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.fixture
def pytorch_extension(monkeypatch):
    """A PyTorch extension that remembers how it was asked, and answers ``answer``."""
    extension = types.ModuleType("PyTorchUtils")
    extension.asked, extension.answer = [], None

    class PyTorchUtilsLogic:
        def installTorch(self, **how):
            extension.asked.append(how)
            return extension.answer

    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return extension


@pytest.fixture
def in_use(application):
    application.testing = False
    application.answers, application.asked = [], []
    yield application
    application.testing = True


def test_the_description_has_help_acknowledgement_and_a_category(opened):
    import CarotidLandmark

    description = types.SimpleNamespace()
    CarotidLandmark.CarotidLandmark(description)
    assert description.title == "Carotid Landmark"
    assert description.categories == ["Vascular Modeling Toolkit"]
    assert "Not for diagnosis" in description.helpText
    assert "10.1109/isbi45749.2020.9098620" in description.acknowledgementText


def test_the_icon_is_a_png_of_128_pixels():
    from PySide6.QtGui import QImage

    icon = QImage(str(MODULE / "Resources" / "Icons" / "CarotidLandmark.png"))
    assert (QImage.width(icon), QImage.height(icon)) == (128, 128)


def test_the_bundled_scan_is_offered_as_sample_data_and_needs_no_network(opened):
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    import SampleData

    (source,) = SampleData.SampleDataLogic.sources
    place = urlparse(source["uris"])
    assert place.scheme == "file"
    volume = read_volume(url2pathname(place.path))
    assert min(volume.size) > 50
    assert Path(source["thumbnailFileName"]).is_file()
    assert source["category"] == "Carotid Landmark"
    assert source["checksums"] == f"SHA256:{file_sha256(Path(url2pathname(place.path)))}"


def test_where_half_of_the_extension_was_copied_the_panel_says_so(widget, monkeypatch):
    from CarotidLandmark import registerSampleData

    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    bundles = widget.logic.bundles
    registerSampleData()
    widget.enter()
    widget.logic.bundles = bundles
    assert "There is no model here" in widget.ui.adviceLabel.text


def test_every_control_that_can_be_used_has_a_tooltip():
    ui = (MODULE / "Resources" / "UI" / "CarotidLandmark.ui").read_text()
    kinds = "QPushButton|QComboBox|QSpinBox|QLineEdit|QTableWidget|ctkSliderWidget|qMRMLNodeComboBox"
    widgets = re.findall(rf'<widget class="(?:{kinds})" name="(\w+)">(.*?)</widget>', ui, re.DOTALL)
    assert len(widgets) > 15
    assert [name for name, body in widgets if 'name="toolTip"' not in body] == []


def test_detection_needs_nothing_more_where_all_is_installed(in_use):
    ensure_dependencies()
    assert in_use.asked == []


def test_importing_the_module_does_not_import_torch():
    import subprocess

    code = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "from harness import launch; launch(); import CarotidLandmark\n"
        "print('torch' in sys.modules, 'safetensors' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(MODULE)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_without_the_pytorch_extension_detect_says_what_to_install(widget, without, in_use):
    show(widget)
    without("torch")
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert "extension PyTorch; install it in the Extensions Manager" in widget.ui.statusLabel.text


def test_declining_pytorch_leaves_everything_but_detect_usable(widget, without, pytorch_extension, in_use):
    show(widget)
    without("torch")
    widget.ui.detectButton.click()
    assert pytorch_extension.asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.5"}]
    assert "needs PyTorch, which was not installed" in widget.ui.statusLabel.text
    widget.table.select(0)
    widget.ui.acceptButton.click()
    assert "accepted" in widget.ui.resultsTable.item(0, 1).text()


def test_agreeing_to_pytorch_goes_on(without, pytorch_extension, in_use):
    without("torch")
    pytorch_extension.answer = object()
    ensure_dependencies()


def test_where_there_is_no_pytorch_for_the_application_nothing_is_asked_and_the_way_is_named(
    widget, without, intel_mac, in_use, pytorch_extension
):
    show(widget)
    without("torch")
    widget.ui.detectButton.click()
    assert "no PyTorch 2.5 or newer for this Slicer, which is built for Intel" in widget.ui.statusLabel.text
    assert "carotid-landmark detect" in widget.ui.statusLabel.text
    assert not widget.logic.running
    assert pytorch_extension.asked == []


def test_a_pytorch_that_is_there_is_used_wherever_it_is_from(intel_mac, in_use):
    ensure_dependencies()


@pytest.mark.parametrize("version", ["2.2.2+cpu", "1.13.1"])
def test_an_older_pytorch_is_named_with_the_one_that_is_needed(monkeypatch, pytorch_extension, in_use, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: version)
    with pytest.raises(DetectionFailed, match=re.escape(f"needs PyTorch 2.5 or newer, and {version} is here")):
        ensure_dependencies()
    assert pytorch_extension.asked == []


@pytest.mark.parametrize("version", ["2.5.0", "2.10.1+cu128", "3.0.0a1"])
def test_newer_ones_will_do(monkeypatch, in_use, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: version)
    ensure_dependencies()


def test_a_test_run_of_the_application_installs_nothing(without, pytorch_extension, application):
    without("torch")
    with pytest.raises(DetectionFailed, match="not installed"):
        ensure_dependencies()
    assert pytorch_extension.asked == []


@pytest.mark.parametrize("agrees", [True, False])
def test_safetensors_is_installed_only_after_a_yes(without, in_use, monkeypatch, agrees):
    import qt

    installed = []
    without("safetensors")
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    in_use.answers = [qt.QMessageBox.Ok if agrees else qt.QMessageBox.Cancel]
    if agrees:
        ensure_dependencies()
    else:
        with pytest.raises(DetectionFailed, match="safetensors, which was not installed"):
            ensure_dependencies()
    assert installed == (["safetensors>=0.4.3"] if agrees else [])
    assert "safetensors" in in_use.asked[-1]


@pytest.mark.parametrize("package", ["safetensors", "torch"])
def test_an_installation_that_fails_is_told_in_a_sentence(
    widget, without, in_use, pytorch_extension, monkeypatch, package
):
    import subprocess

    import qt

    def fail(*_arguments, **_how):
        raise subprocess.CalledProcessError(1, ["pip", "install"])

    show(widget)
    without(package)
    monkeypatch.setattr(slicer.util, "pip_install", fail)
    monkeypatch.setattr(pytorch_extension.PyTorchUtilsLogic, "installTorch", fail)
    in_use.answers = [qt.QMessageBox.Ok]
    widget.ui.detectButton.click()
    assert "could not be installed (pip ended with 1)" in widget.ui.statusLabel.text
    assert not widget.logic.running


def test_what_is_installed_and_can_not_be_loaded_is_told_in_a_sentence(without, in_use, pytorch_extension, monkeypatch):
    def fail(*_arguments, **_how):
        raise ImportError("DLL load failed while importing _C")

    without("torch")
    monkeypatch.setattr(pytorch_extension.PyTorchUtilsLogic, "installTorch", fail)
    with pytest.raises(DetectionFailed, match=r"can not be loaded \(DLL load failed.*start Slicer again"):
        ensure_dependencies()


def test_detect_pressed_while_a_package_is_installed_installs_nothing_twice(
    widget, without, in_use, pytorch_extension, monkeypatch
):
    told = []

    def install(*_arguments, **_how):  # Slicer lets the event loop turn while pip runs
        widget.ui.detectButton.click()
        told.append(widget.ui.statusLabel.text)
        return object()

    show(widget)
    without("torch")
    monkeypatch.setattr(pytorch_extension.PyTorchUtilsLogic, "installTorch", install)
    ensure_dependencies()
    assert told == ["PyTorch is being installed; press Detect when that is done."]
