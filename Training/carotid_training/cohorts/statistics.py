"""What a cohort of digital necks looks like: its statistics beside the published ones, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.report.figures import new_figure
from CarotidLandmarkLib.report.planes import sample_box
from CarotidLandmarkLib.volume import Volume, read_volume
from rich.console import Console
from torch import Tensor

from .. import seeds
from ..necks.neck import Facts, Grid
from ..necks.styles import Styles
from ..pages import markdown_table
from ..scans.sample import Sample
from .synthesize import plan

AXIAL_MM, SLAB_MM, MIP_MM = (190.0, 190.0), (230.0, 230.0), (150.0, 150.0)
# Grey values as a radiologist sets them for CTA: level, width.
CTA_WINDOW, MIP_WINDOW = (140, 700), (300, 900)


@dataclass(frozen=True)
class Statistic:
    """One line of the table: the public ground truth of Ma et al. (52 test cases, ISBI 2020), and the cohort's own.

    ``tolerance``: by how much of the published value the cohort's may differ; None for the range of what occurs, which
    grows with the number of cases.
    """

    name: str
    published: float
    measure: Callable[[np.ndarray], float]
    of: str
    tolerance: float | None = 0.10


STATISTICS = (
    Statistic("left-right distance, mean (mm)", 59.0, np.mean, "distance_mm"),
    Statistic("left-right distance, sd (mm)", 10.0, np.std, "distance_mm"),
    Statistic("left-right distance, least (mm)", 38.0, np.min, "distance_mm", None),
    Statistic("left-right distance, greatest (mm)", 89.0, np.max, "distance_mm", None),
    Statistic("height difference, sd (mm)", 8.0, np.std, "height_difference_mm"),
    Statistic("height difference, greatest (mm)", 23.0, lambda v: np.abs(v).max(), "height_difference_mm", None),
    Statistic("in-plane spacing, median (mm)", 0.49, np.median, "in_plane_mm"),
    Statistic("in-plane spacing, least (mm)", 0.38, np.min, "in_plane_mm"),
    Statistic("in-plane spacing, greatest (mm)", 0.79, np.max, "in_plane_mm"),
    Statistic("slice spacing, median (mm)", 1.25, np.median, "slice_spacing_mm"),
    Statistic("slice spacing, greatest (mm)", 3.0, np.max, "slice_spacing_mm"),
    Statistic("slice spacing above 2 mm (share)", 1 / 3, lambda v: (v > 2).mean(), "slice_spacing_mm"),
)


def draw_cohort(
    cases: int, seed: int, styles: Styles, weights: Mapping[str, float], randomised: bool = False
) -> list[Facts]:
    """The rows of `synthesize`'s table for the same arguments, without rendering anything."""
    return [
        {"case": c.id, "split": c.split, **c.draw(styles, weights, randomised=randomised).facts()}
        for c in plan(cases, seed)
    ]


def statistics_table(rows: Sequence[Facts]) -> str:
    """The cohort's statistics beside the published ones, as Markdown; distances where both landmarks are there."""
    lines = []
    for s in STATISTICS:
        own = s.measure(np.array([row[s.of] for row in rows if s.of in row], dtype=float))
        off = own / s.published - 1
        verdict = "range" if s.tolerance is None else f"{off:+.0%}" + ("" if abs(off) <= s.tolerance else " (off)")
        lines.append([s.name, f"{s.published:.3g}", f"{own:.3g}", verdict])
    return markdown_table(["", "published", f"{len(rows)} digital necks", ""], lines)


def shares_table(rows: Sequence[Facts]) -> str:
    """How often each kind of neck, disease and absence occurs, as Markdown."""
    sides = [(row, side) for row in rows for side in ("left", "right")]
    lines = []
    for title, values in (
        ("style", [row["style"] for row in rows]),
        ("bifurcation at", [row.get(f"neck_{side}_level") for row, side in sides]),
        ("internal carotid", [row.get(f"neck_{side}_disease") for row, side in sides]),
        ("absent", [row[f"{side}_absent_because"] or "no" for row, side in sides]),
    ):
        for value in sorted({str(v) for v in values if v is not None}):
            lines.append([f"{title}: {value}", f"{np.mean([str(v) == value for v in values]):.1%}"])
    return markdown_table(["", "share"], lines)


def contact_sheet(samples: Sequence[Sample], path: Path, real: Volume | None = None) -> None:
    """A picture with four views per neck: axial at a point, coronal and sagittal slabs through it, MIP from the front.

    The first place shows ``real``, a CT, for comparison. Two necks per row.
    """
    panels = [] if real is None else [("real CT", _views_of(real))]
    for sample in samples:
        p = sample.scanner.acquisition
        title = f"{sample.neck.style}, seed {sample.seed}: {p.slice_mm:g} mm slices, noise {p.noise_hu:.0f} HU"
        points = sample.scanner.nearest_inside(sample.truth.points_lps)
        panels.append((title, _pictures(*sample.scanner.view(sample.neck, _grids(points[0], points.mean(dim=0))))))
    rows = -(-len(panels) // 2)
    figure = new_figure(24, 3.25 * rows, facecolor="black", layout=None)
    axes = figure.subplots(rows, 8, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for n, (title, views) in enumerate(panels):
        for ax, (image, (level, width)) in zip(axes[n // 2, 4 * (n % 2) :], views, strict=False):
            ax.imshow(image, cmap="gray", vmin=level - width / 2, vmax=level + width / 2, interpolation="bilinear")
        axes[n // 2, 4 * (n % 2)].set_title(title, color="white", fontsize=11, loc="left")
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.97, 0.02, 0.09)
    figure.savefig(path, dpi=60, facecolor="black", pil_kwargs={"quality": 88})


def _grids(point: Tensor, middle: Tensor) -> list[Grid]:
    """Axial slice at the point, coronal and sagittal slabs through it, and the block of the MIP."""
    x, y, z = point.tolist()
    mx, my, _ = middle.tolist()

    def grid(centre: tuple[float, float, float], size_mm: tuple[float, float, float], spacing: float) -> Grid:
        k, j, i = (max(1, round(s / spacing)) for s in size_mm)
        return Grid.aligned(torch.tensor(centre, dtype=torch.float64), spacing, (k, j, i))

    wide, high = SLAB_MM
    return [
        grid((mx, my, z), (0.5, *AXIAL_MM), 0.5),
        grid((mx, y, z), (high, 5.0, wide), 1.0),
        grid((x, my, z), (high, wide, 5.0), 1.0),
        grid((mx, y - 2, z), (MIP_MM[0], 34.0, MIP_MM[1]), 1.0),
    ]


def _pictures(axial: Tensor, coronal: Tensor, sagittal: Tensor, block: Tensor) -> list[tuple[np.ndarray, tuple]]:
    """Seen as in a reading room: patient's left on the right, head up, face to the left."""
    return [
        (axial[0].numpy(), CTA_WINDOW),
        (coronal.mean(dim=1).flip(0).numpy(), CTA_WINDOW),
        (sagittal.mean(dim=2).flip(0).numpy(), CTA_WINDOW),
        (block.amax(dim=1).flip(0).numpy(), MIP_WINDOW),
    ]


def _views_of(volume: Volume) -> list[tuple[np.ndarray, tuple]]:
    middle = torch.as_tensor(volume.centre_lps)
    images = []
    for grid in _grids(middle + torch.tensor([25.0, 0.0, -40.0]), middle):
        spacing = float(grid.spacing_mm[0])
        box = sample_box(volume, grid.centre_lps.numpy(), spacing * np.array(grid.shape[::-1]), spacing)
        images.append(torch.from_numpy(box.hu))
    return _pictures(*images)


def main(
    cases: Annotated[int, typer.Option(help="Necks in the tables; 0: no tables.")] = 263,
    seed: Annotated[int, typer.Option(help="0 to 255.")] = 0,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet (.jpg or .png) here.")] = None,
    per_style: Annotated[int, typer.Option(help="Necks of each style on the contact sheet.")] = 3,
    randomised: Annotated[
        bool, typer.Option("--randomised", help="Also necks that are wilder than any patient, as in training.")
    ] = False,
    background: Annotated[list[Path] | None, typer.Option(help="CT for the styles of real tissue.")] = None,
    compare: Annotated[Path | None, typer.Option(help="A real CT to show first on the contact sheet.")] = None,
) -> None:
    """Statistics of a cohort beside the published ones, and a contact sheet."""
    console = Console(stderr=True)
    torch.set_num_threads(1)  # drawing is many small operations: threads only wait for each other
    try:
        styles = Styles(background or ())
        names = styles.available if randomised else styles.patient_like
        if cases:
            rows = draw_cohort(cases, seed, styles, dict.fromkeys(names, 1.0), randomised)
            print(statistics_table(rows), shares_table(rows), sep="\n", end="")
        if sheet:
            samples = [
                Sample.draw(
                    seeds.neck_seed("train", seed, n), styles, {style: 1.0}, (180.0, 400.0), randomised=randomised
                )
                for n, style in enumerate(np.repeat(names, per_style).tolist())
            ]
            contact_sheet(samples, sheet, read_volume(compare) if compare else None)
    except (UserError, OSError) as error:
        console.print(f"statistics: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
