#!/usr/bin/env bash
# mini/splade-en: splade_en.sh DATA WORK OUT [FLAGS of sembridge train]. An hour by estimate on two cores with bfloat16.
set -euo pipefail
data=$1 work=$2 out=$3 flags=("${@:4}")
source "$(dirname "$0")/splade_stages.sh"

make start --data "$data" --out "$work/start"
first_stage 700
train "$work/first" "$work/second" "${questions[@]}" "${more[@]}" \
  --steps 350 --learning-rate 2e-4 "${harder[@]}" --query-weight 1.0 --seed 8
train "$work/second" "$work/third" "${questions[@]}" \
  --steps 160 --learning-rate 1.5e-4 "${harder[@]}" --query-weight 1.0 --seed 9
make finish "$work/third" "$out"
