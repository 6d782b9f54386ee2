#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: dev (g++), asan (clang++, ASan+UBSan), tsan (g++, librefork), fuzz (clang++,
# each fuzzer for a while), system (the packages, in a booted Debian; needs root). Warnings of either compiler are errors.
# tests/run.sh [PRESET...] runs only these. JOBS=N sets the number of parallel jobs, FUZZ_SECONDS=N how long each fuzzer runs.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t packages < <(cat packaging/build-deps.txt packaging/test-deps.txt)
packaging/install-deps.sh "${packages[@]}"

# What was compiled in one checkout is found again in another.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

presets=("$@")
[ ${#presets[@]} -gt 0 ] || presets=(dev asan tsan fuzz system)
jobs=${JOBS:-$(nproc)}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() {  # step NAME COMMAND...: quiet unless it fails
  local name=$1 begin=$SECONDS
  shift
  printf '%-28s ' "$name"
  if "$@" >"$log" 2>&1; then
    echo "ok ($((SECONDS - begin)) s)"
  else
    echo FAILED
    cat "$log"
    exit 1
  fi
}

run_tests() {  # run_tests PRESET: the summary, and the output of what failed
  local preset=$1 begin=$SECONDS
  if [ -t 1 ]; then
    ctest --preset "$preset" -j "$jobs" --progress
    return
  fi
  ctest --preset "$preset" -j "$jobs" >"$log" 2>&1 || { cat "$log"; exit 1; }
  tail -n 16 "$log"
  if [ -n "${CI:-}" ] && grep -q 'Skipped' "$log"; then
    echo "$preset: tests were skipped, which none may here:" && grep 'Skipped' "$log"
    exit 1
  fi
  echo "$preset: tested in $((SECONDS - begin)) s"
}

build() {  # build PRESET [OPTION...]
  local preset=$1
  shift
  step "$preset: configure" cmake --preset "$preset"
  step "$preset: build" cmake --build --preset "$preset" -j "$jobs" "$@"
}

for preset in "${presets[@]}"; do
  case $preset in
    fuzz)
      build fuzz
      step "fuzz: each for ${FUZZ_SECONDS:-60} s" tests/fuzz/run.sh "${FUZZ_SECONDS:-60}"
      ;;
    system)
      if [ "$(id -u)" -ne 0 ]; then
        echo "system: not run: to boot a Debian needs root"
        [ -z "${CI:-}" ] || exit 1
        continue
      fi
      build dev --target system_test
      run_tests system
      ;;
    *)
      build "$preset"
      run_tests "$preset"
      ;;
  esac
done
echo "all passed: ${presets[*]}"
