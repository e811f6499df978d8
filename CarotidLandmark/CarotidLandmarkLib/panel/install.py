"""What a detection needs and the application does not have: asked for at the first Detect, never before."""

import importlib.metadata
import importlib.util
import platform
import re
import subprocess
from contextlib import contextmanager

import slicer
from slicer.i18n import tr as _

from ..job import DetectionFailed

LEAST_TORCH = "2.5"

running: list[str] = []  # what is being installed, if anything


def ensure_dependencies():
    """Have what a detection needs, asking the user before anything is installed. Raises DetectionFailed if not."""
    sorry = _("Detect needs {name}, which was not installed. Everything else works without it.")
    testing = slicer.app.testingEnabled()
    if not torch_is_here():
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            raise DetectionFailed(
                _("Detect needs the extension PyTorch; install it in the Extensions Manager and start Slicer again.")
            ) from None
        logic = PyTorchUtils.PyTorchUtilsLogic()
        with in_words("PyTorch"):
            if testing or logic.installTorch(askConfirmation=True, torchVersionRequirement=f">={LEAST_TORCH}") is None:
                raise DetectionFailed(sorry.format(name="PyTorch"))
    if importlib.util.find_spec("safetensors") is None:
        question = _("Detect needs the small Python package safetensors. Install it now?")
        if testing or not slicer.util.confirmOkCancelDisplay(question, _("Carotid Landmark")):
            raise DetectionFailed(sorry.format(name="safetensors"))
        with in_words("safetensors"):
            slicer.util.pip_install("safetensors>=0.4.3")


def torch_is_here():
    """Told without importing it. Raises DetectionFailed where it is too old, or can not be had in this application."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if version and _numbers(version) >= _numbers(LEAST_TORCH):
        return True
    if (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
        words = _(
            "There is no PyTorch {least} or newer for this Slicer, which is built for Intel processors; on a Mac with "
            "Apple silicon use the command carotid-landmark detect."
        )
        raise DetectionFailed(words.format(least=LEAST_TORCH))
    if version:
        words = _(
            "Detect needs PyTorch {least} or newer, and {version} is here; uninstall it in the module PyTorch Utils, "
            "start Slicer again, then press Detect."
        )
        raise DetectionFailed(words.format(least=LEAST_TORCH, version=version))
    return False


def _numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


@contextmanager
def in_words(name):
    """An installation that fails raises DetectionFailed; pip's own words are in the application's log.

    So does a second one while the first runs: Slicer lets the event loop turn then, and Detect can be pressed.
    """
    if running:
        raise DetectionFailed(_("{name} is being installed; press Detect when that is done.").format(name=running[0]))
    running.append(name)
    try:
        yield
    except DetectionFailed:
        raise
    except ImportError as error:
        words = _("{name} is installed and can not be loaded ({reason}); start Slicer again, then press Detect.")
        raise DetectionFailed(words.format(name=name, reason=error)) from error
    except (subprocess.CalledProcessError, RuntimeError, ValueError, OSError) as error:
        words = _("{name} could not be installed ({reason}); check the network and the disk, then press Detect again.")
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        if isinstance(error, subprocess.CalledProcessError):
            reason = _("pip ended with {code}").format(code=error.returncode)
        raise DetectionFailed(words.format(name=name, reason=reason)) from error
    finally:
        running.clear()
