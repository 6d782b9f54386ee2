#!/usr/bin/env bash
# Fuzzes every target for a while: tests/fuzz/run.sh [SECONDS [TARGET...]], JOBS (the number of processors) at a time. Each
# starts from its corpus, and what it finds on the way stays in build/fuzz/found/TARGET. An input that crashes a target (or
# is too slow for it, or leaks) is left in build/fuzz/crashes, and the exit code is 1. Needs the preset fuzz to be built:
#   cmake --preset fuzz && cmake --build --preset fuzz
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
shift || true
here=tests/fuzz build=build/fuzz
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for source in "$here"/*_fuzz.cc; do targets+=("$(basename "$source" _fuzz.cc)"); done
fi

fuzz_one() {  # TARGET
  local target=$1 found=$build/found/$1 log=$build/found/$1.log
  mkdir -p "$found" "$build/crashes"
  if "$build/bin/fuzz/${target}_fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
    -print_final_stats=1 -artifact_prefix="$build/crashes/$target-" "$found" "$here/corpus/$target" \
    >"$log" 2>&1; then
    printf '%-10s %s inputs\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: //p' "$log")"
  else
    printf '%-10s FAILED, see %s\n' "$target" "$log"
    tail -n 40 "$log"
    return 1
  fi
}
export -f fuzz_one
export seconds here build

printf '%s\n' "${targets[@]}" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'fuzz_one {}'
