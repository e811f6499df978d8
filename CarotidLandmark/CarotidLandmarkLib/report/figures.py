"""What every picture of the room is made with: a figure without a window, and its bytes inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(width_in: float, height_in: float, **options: Any) -> Figure:
    """An empty figure, drawn off-screen; white and constrained unless ``options`` say otherwise."""
    figure = Figure(figsize=(width_in, height_in), **{"layout": "constrained", "facecolor": "white", **options})
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, on its own ground."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor())
    return stream.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as SVG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "carotid"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def inline(picture: bytes, kind: str) -> str:
    """A picture (``png``, ``svg+xml``) as the address of an image in a page that needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
