"""MODEL_CARD.md, filled from a bundle's metadata."""

from __future__ import annotations

from datetime import date

from CarotidLandmarkLib.bundle import BundleMetadata
from CarotidLandmarkLib.landmarks import kind, mirror_pairs
from CarotidLandmarkLib.nets.search import CONTRAST, ENLARGEMENT, NOISY_HU

from ..pages import page

# ruff: noqa: E501 - Markdown tables are lines
TEMPLATE = """\
# {{ m.name }} {{ m.version }}

{{ m.intended_use }}

Exported {{ day }} with CarotidLandmark {{ m.lib_version }} and torch {{ m.torch_version }}. Licence of the weights: {{ m.licence }}.

## What it finds

{% for landmark in m.landmarks %}- `{{ landmark.name }}` ({{ landmark.label }})
{% endfor %}

{% if bifurcations %}The point is the apex of the flow divider: going up slice by slice, on the first axial level at which the common carotid's lumen
has become two separate lumens, the midpoint of the wall between them.
{% endif %}

## How it works

A chain of Loc-Nets at {{ m.scales_mm | join(", ") }} mm (Ma, Gupta, Sabuncu, ISBI 2020); patches of {{ m.patch_sizes | join(", ") }} voxels a
side, HU window {{ m.hu_window[0] }} to {{ m.hu_window[1] }}, noise of up to {{ m.noise_mm }} mm per axis at the last scale.
{% if nets.searches %}At test the scale before the last looks from two places, twice: from what the scales before it found and from the coarsest
heatmap's second mode. The look with the highest peak is taken{% if counterparts %}, beside that at the landmark's counterpart: of two that look alike
the one that lies as the two usually lie{% endif %}; the odds of the others are in its region. A patient who lies rolled is turned upright
for that, and a scan with more than {{ noisy | int }} HU of noise in soft tissue is smoothed. Where the landmarks are not clear it is
done again, with {{ contrast }} times the contrast above soft tissue and, where a body is narrow, enlarged {{ enlargement }} times, for a
child's neck, enlarged, looks like those of training; the clearest answers are taken.
{% endif %}Options: {% for key, value in m.architecture.items() %}{{ key }} = {{ value }}{{ ", " if not loop.last else "." }}{% endfor %}


## Training

{% for key, value in m.training.items() recursive %}
{% if value is mapping and key in ("start_from", "before") %}
- {{ key }}, trained before:
{{ loop(value.items()) | indent(2, first=true) }}
{%- else %}
- {{ key }}: {{ value }}
{% endif %}
{% endfor %}

## Measured

{% if m.accuracy %}On the annotated cases of `{{ m.accuracy.dataset }}`, which were neither trained nor calibrated on:

| | |
|---|---|
{% for key, value in m.accuracy.items() if key not in ("dataset", "summary", "shifts") %}| {{ key }} | {{ value }} |
{% endfor %}{% else %}Not measured: the dataset had no test cases.
{% endif %}

{% if "shifts" in m.accuracy %}## Beyond what training drew

{{ m.accuracy.shifts.text }}

| {{ m.accuracy.shifts.rows[0] | join(" | ") }} |
|{% for column in m.accuracy.shifts.rows[0] %}---|{% endfor %}

{% for row in m.accuracy.shifts.rows %}| {{ row.values() | join(" | ") }} |
{% endfor %}

{% endif %}
## Calibration

{% if m.calibration %}Split conformal prediction on validation cases; factor = Mahalanobis radius of the region; in brackets: patients.
{% if nets.mirrored and pairs %}A landmark and its counterpart on the other side share a factor, that of the points of both.{% endif %}


| level | {% for landmark in m.landmarks %}{{ landmark.label }} | {% endfor %}

|---|{% for landmark in m.landmarks %}---|{% endfor %}

{% for level, row in m.calibration.items() %}| {{ level }} | {% for landmark in m.landmarks %}{{ "%.2f" | format(row[landmark.name].factor) }} ({{ row[landmark.name].n }}) | {% endfor %}

{% endfor %}{% else %}Not calibrated: too few cases. Its regions are those of a Gaussian and may be too small.
{% endif %}

## Limits

Numbers above hold for the cases they were measured on. Digital necks are not patients: nothing here is a claim about patients.
The verdict and the confidence region are there to be read; a point whose verdict is not `ok` needs a look.
"""


def model_card(metadata: BundleMetadata, day: date) -> str:
    """The card's Markdown."""
    bifurcations = {kind(landmark.name) for landmark in metadata.landmarks} == {"carotid_bifurcation"}
    pairs = mirror_pairs(metadata.landmarks)
    return page(
        TEMPLATE,
        m=metadata,
        nets=metadata.nets(),
        bifurcations=bifurcations,
        pairs=pairs,
        counterparts=any(pair.usual_offset_mm for pair in pairs),
        day=day.isoformat(),
        contrast=CONTRAST,
        enlargement=ENLARGEMENT,
        noisy=NOISY_HU,
    )
