#!/usr/bin/env bash
# All that a GPU is asked about, in ten minutes: detection and training step (time, memory), rendering, peers, a training.
#   bash benchmarks/gpu.sh OUTPUT [FOLDER-OF-PREPARED-CTS [HOURS-OF-TRAINING]]
# PYTHON chooses the interpreter. A step that fails or takes too long leaves the others alone: see OUTPUT/log.txt.
set -uo pipefail
[ $# -ge 1 ] || { sed -n '3s/^# *//p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
output=$1 backgrounds=${2:-} hours=${3:-0.05}
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH="CarotidLandmark:Training${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$output"

measure() { # SECONDS COMMAND...
  local begin=$SECONDS
  timeout "$1" "$python" "${@:2}" >>"$output/log.txt" 2>&1
  echo "$? after $((SECONDS - begin)) s: ${*:2}" | tee -a "$output/log.txt"
}

"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "there is no GPU here" >&2; exit 2; }
measure 60 -m benchmarks.cost.detection_time --output "$output"
measure 60 -m benchmarks.cost.memory detect --output "$output"
measure 60 -m benchmarks.cost.memory train --output "$output"
measure 60 -m benchmarks.cost.rendering --output "$output"
measure 90 -m benchmarks.cost.throughput --steps 24 --output "$output" Training/configs/small.yaml
measure 90 -m benchmarks.cost.peers table --output "$output"
if [ -n "$backgrounds" ]; then
  measure 400 -m carotid_training fit --config Training/configs/shipped/1-gpu.yaml --model.hours "$hours" \
    --data.backgrounds "[$backgrounds]" --trainer.default_root_dir "$output/run"
fi
