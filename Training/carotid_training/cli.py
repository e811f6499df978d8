"""The command carotid-train: fit, finetune, curve, evaluate, export, synthesize, table1."""

from __future__ import annotations

import sys

from CarotidLandmarkLib.memory import keep_freed_memory

USAGE = """carotid-train: digital necks, training, evaluation and export of CarotidLandmark's models

  carotid-train fit --config Training/configs/release.yaml   train (lightning command line; --help says all options)
  carotid-train finetune DATASET                             a model learns from your annotated cases
  carotid-train curve RUN                                    validation errors against steps and hours, as a picture
  carotid-train evaluate BUNDLE DATASET                      error, calibration and presence on annotated cases
  carotid-train export RUN --calibrate DATASET               a model bundle from a training run
  carotid-train synthesize --cases N --seed S --output DIR   a cohort of digital necks on disk
  carotid-train backgrounds FOLDER --output DIR              unenhanced CTs analysed once, for necks of real tissue
  carotid-train table1 COHORT --output DIR                   Table 1 of the paper, all methods trained side by side
"""


def main() -> None:
    """Entry point; each command imports only what it needs."""
    keep_freed_memory()
    command, arguments = (sys.argv[1] if len(sys.argv) > 1 else "--help"), sys.argv[2:]
    if command == "fit":
        from .fit import fit

        fit(arguments)
    elif command in ("finetune", "curve", "evaluate", "export", "synthesize", "backgrounds", "table1"):
        from importlib import import_module

        import typer

        function = import_module(f".{command}", __package__).main
        sys.argv = [f"carotid-train {command}", *arguments]
        typer.run(function)
    elif command in ("-h", "--help"):
        print(USAGE, end="")
    else:
        print(f"carotid-train: there is no command '{command}'; see carotid-train --help.", file=sys.stderr)
        sys.exit(2)
