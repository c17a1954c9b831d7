#!/usr/bin/env bash
# mini/splade-roberta-en, which starts from layers of mini/splade-en: splade_roberta_en.sh DATA WORK OUT [FLAGS].
# Half an hour by estimate on two cores. A second stage as for mini/splade-en lost on the dev sets (.74 from .78).
set -euo pipefail
data=$1 work=$2 out=$3 flags=("${@:4}")
source "$(dirname "$0")/splade_stages.sh"

make start --data "$data" --out "$work/start" --roberta-from "$here/../../mini/src/sembridge_mini/splade-en" --layers 0 2 5
first_stage 600
make finish "$work/first" "$out"
