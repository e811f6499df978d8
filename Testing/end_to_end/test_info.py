"""`info`: which models are here, and what one of them is."""

from __future__ import annotations

from dataclasses import replace

from CarotidLandmarkLib.bundle import Bundle, default_bundle

from .commands import LEFT, tiny_bundle


def test_info_tells_what_the_bundle_is(run, model):
    code, out, err = run("info", model)
    assert (code, err) == (0, [])
    for words in (
        "tiny 0.0.1",
        LEFT,
        "4, 2, 1, 0.5 mm",
        "Tests.",
        "Apache-2.0",
        "not measured",
        "calibrated, up to 95%",
    ):
        assert words in out
    assert "MODEL_CARD.md" in out.splitlines()[-1]


def test_info_lists_the_models_first_a_line_each_and_leaves_tables_to_the_card(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path))
    tiny = tiny_bundle(tmp_path / "tiny", presence_bias=4.0)
    Bundle.save(tmp_path / "models" / "mine", replace(tiny.metadata, calibration={}), tiny.state, tiny.card)
    code, out, err = run("info")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    shipped = default_bundle().metadata
    assert (code, err) == (0, [])
    assert lines[0] == "model version landmarks regions"
    assert lines[1].startswith(f"{shipped.name} {shipped.version} L bifurcation, R bifurcation calibrated, up to ")
    assert lines[2:4] == ["mine 0.0.1 L bifurcation, R bifurcation not calibrated", ""]
    assert f"model {shipped.name} {shipped.version}" in lines and "Not for clinical use." in out
    assert len(lines) < 24 and "{" not in out and "factor" not in out and "thick-slices" not in out
