"""As much of the 3D Slicer application as a scripted module needs, on PySide6 and ``slicer-core``, off-screen.

`launch` makes ``qt``, ``ctk``, ``slicer.app``, ``slicer.modules`` and the Python files that only the application has,
and returns the `Application`. The scene, its nodes, the logics, the views' displayable managers and Qt are real;
what stands in for C++ that the wheel lacks (ctk and qMRML widgets, the layout manager, the parameter node wrapper) is
here, and only as far as the module uses it. What this can not show: CLI modules, subject hierarchy plugins,
ctk and qMRML behaviour to the letter, CMake packaging.
"""

from .application import Application, launch

__all__ = ["Application", "launch"]
