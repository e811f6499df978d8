"""What every page of the room is made with: its template, and figures without a window, inline."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110  # of images in panels

# every value is escaped, and one that is not given is an error
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """The page of a template beside this file."""
    return _TEMPLATES.get_template(template).render(values)


def new_figure(width_in: float, height_in: float, **options: Any) -> Figure:
    """An empty figure, drawn off-screen; white and constrained unless ``options`` say otherwise."""
    figure = Figure(figsize=(width_in, height_in), **{"layout": "constrained", "facecolor": "white", **options})
    FigureCanvasAgg(figure)
    return figure


def image_panels(rows: int, columns: int, width_in: float, height_in: float, title_in: float) -> tuple[Figure, Any]:
    """A black figure and its axes, [rows, columns], that images fill but for a title above each.

    Placed by hand: a layout engine draws everything once more to learn where it can be.
    """
    figure = new_figure(width_in, height_in, dpi=DPI, facecolor="black", layout=None)
    gap, width, height = 0.05, width_in / columns, height_in / rows
    places = {"left": gap / width_in, "right": 1 - gap / width_in, "bottom": gap / height_in}
    places |= {"top": 1 - title_in / height_in, "wspace": gap / (width - gap), "hspace": title_in / (height - title_in)}
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=places)


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
