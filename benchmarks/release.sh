#!/usr/bin/env bash
# All that is said of a new model, the one before it beside it on the same scans. Stopped, the same command goes on.
#   bash benchmarks/release.sh NEW-BUNDLE OLD-BUNDLE OPEN-KBP RUNS
# 54 test necks, 100 in the tissue of patients that no training sees, scans without a bifurcation, the shifts: all
# together, and side by side; then time and memory, which want a machine that does nothing else.
set -euo pipefail
refuse() { echo "$*" >&2; exit 2; }
[ $# -eq 4 ] || refuse "$(sed -n '3s/^# *//p' "$0")"
new=$1 old=$2 patients=$3 runs=$4
bin=${BIN:-.venv/bin}
# Each model's tables are in a folder of its name, and the cohorts take an hour: what is wrong is told before.
[ "$(basename "$new")" != "$(basename "$old")" ] || refuse "Both bundles are named $(basename "$new"); rename one."
for model in "$new" "$old"; do "$bin/carotid-landmark" info "$model" >/dev/null; done

once() { # FOLDER COMMAND...: what is there already is not made again
  [ -e "$1/.done" ] || { "${@:2}" && touch "$1/.done"; }
}

once "$runs/prepared" "$bin/carotid-train" backgrounds "$patients" --output "$runs/prepared"
once "$runs/test" "$bin/carotid-train" synthesize --cases 263 --seed 41 --splits test --background "$runs/prepared" --output "$runs/test"
once "$runs/unseen" "$bin/carotid-train" synthesize --cases 487 --seed 42 --splits test --background "$runs/prepared" \
  --unseen-patients --output "$runs/unseen"
once "$runs/negatives" "$bin/python" -m benchmarks.accuracy.negatives "$runs/prepared" --output "$runs/negatives"
for model in "$new" "$old"; do
  "$bin/python" -m benchmarks.accuracy.shifted_scans --background "$runs/prepared" --unseen-patients "$runs/prepared" --model "$model" \
    --runs "$runs/shifts" --output "$runs/$(basename "$model")"
  shifts=()
  for folder in "$runs"/shifts/*/; do [ -e "$folder/dataset.json" ] && shifts+=("$folder"); done
  "$bin/carotid-train" evaluate "$model" "$runs/test" "$runs/unseen" "$runs/negatives" "${shifts[@]}" \
    --output "$runs/$(basename "$model")/evaluation"
done
"$bin/python" -m benchmarks.accuracy.release "$runs/$(basename "$new")/evaluation" "$runs/$(basename "$old")/evaluation" --output "$runs"
"$bin/python" -m benchmarks.cost.detection_time --model "$new" --model "$old" --output "$runs"
"$bin/python" -m benchmarks.cost.memory detect --model "$new" --output "$runs"
