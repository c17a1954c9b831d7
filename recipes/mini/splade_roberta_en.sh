#!/usr/bin/env bash
# mini/splade-roberta-en, which starts from layers of mini/splade-en: splade_roberta_en.sh DATA WORK OUT.
# About 40 minutes on one core with bfloat16. A second stage as for mini/splade-en lost on the dev sets (.74 from .78).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python "$here/splade_en.py" --data "$1" --work "$2" --out "$3" \
  --roberta-from "$here/../../src/sembridge/mini/splade-en" --layers 0 2 5 --steps 600 --eval-steps 150
