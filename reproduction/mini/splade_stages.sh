# Sourced by splade_en.sh and splade_roberta_en.sh, which set `data`, `work` and `flags` (over those of every training).
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
questions=("$data/squadshifts/en" --also "$data/tydiqa/en")
more=(--also "$data/fairytaleqa/en" --also "$data/medquad/en" --also "$data/qamr/en")
harder=(--document-weight 0.15 --regularizer-warmup 0.02)  # what was cut off shall not grow back

make() { python "$here/splade_en.py" "$@"; }
train() { # START OUT DATA... [FLAGS...]
  local start=$1 out=$2
  shift 2
  sembridge train "$start" "$1" "$out" --recipe "$here/splade_en.yaml" "${@:2}" "${flags[@]}"
}

# From $work/start to $work/first in so many steps, with two cuts of the active dims.
first_stage() { # STEPS
  train "$work/start" "$work/first-1" "${questions[@]}" "${more[@]}" --steps $(($1 / 2))
  make sharpen "$work/first-1" "$work/first-2" --data "$data" --active-dims 110
  train "$work/first-2" "$work/first-3" "${questions[@]}" "${more[@]}" --steps $(($1 / 4)) --regularizer-warmup 0.02
  make sharpen "$work/first-3" "$work/first-4" --data "$data" --active-dims 90
  train "$work/first-4" "$work/first" "${questions[@]}" "${more[@]}" --steps $(($1 / 4)) "${harder[@]}" --query-weight 0.5
}
