#!/usr/bin/env bash
# The three stages of mini/splade-en: splade_en.sh DATA WORK OUT. About 70 minutes on two cores with bfloat16.
set -euo pipefail
data=$1 work=$2 out=$3
run() { python "$(dirname "$0")/splade_en.py" --data "$data" "$@"; }
further() { run --document-weight 0.15 --query-weight 1.0 --regularizer-warmup 0.02 --sharpen-to --start "$@"; }

run --work "$work/first" --out "$work/first/out"
further "$work/first/out" --work "$work/second" --out "$work/second/out" \
  --steps 350 --eval-steps 350 --learning-rate 2e-4 --seed 8
further "$work/second/out" --work "$work/third" --out "$out" \
  --sets squadshifts tydiqa --steps 160 --eval-steps 160 --learning-rate 1.5e-4 --seed 9
