#!/usr/bin/env bash
# One command from a fresh machine to the main job: installs what is missing, builds, starts reforkd with the example server, lets
# one request fail while clients are busy, and shows what they noticed and what was recorded. On a terminal it then goes on
# serving until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n== %s\n' "$*"; }

mapfile -t packages < packaging/build-deps.txt
packaging/install-deps.sh "${packages[@]}"

say "Building (the first time takes a few minutes)"
cmake --preset release -DREFORK_BUILD_BENCH=ON -DREFORK_BUILD_EXAMPLES=ON >/dev/null
[ -t 1 ] || echo "(its output: build/release/build.log)"
build=(cmake --build --preset release --target reforkd reforkctl http_asio load)
if [ -t 1 ]; then
  "${build[@]}"
else
  "${build[@]}" >build/release/build.log || { tail -n 40 build/release/build.log; exit 1; }
fi

bin=$PWD/build/release/bin
dir=$(mktemp -d)
reforkd=
cleanup() {
  [ -z "$reforkd" ] || { kill "$reforkd" 2>/dev/null && wait "$reforkd" 2>/dev/null; }
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 0' INT TERM
export REFORK_CONTROL=$dir/control

say "Starting reforkd with 4 workers of the example server"
echo "\$ reforkd run --workers 4 --listen tcp://127.0.0.1:0 -- http_asio"
"$bin/reforkd" run --workers 4 --listen tcp://127.0.0.1:0 --control "$dir/control" --state-dir "$dir/state" \
  -- "$bin/examples/http_asio" --show-query >"$dir/log" 2>&1 &
reforkd=$!
for ((i = 0; i < 200; i++)); do
  "$bin/reforkctl" status web >/dev/null 2>&1 && break
  kill -0 "$reforkd" 2>/dev/null || { cat "$dir/log"; exit 1; }
  read -rt 0.05 <> <(:) || true
done
"$bin/reforkctl" start web  # returns when every worker is ready
address=$("$bin/reforkctl" --json status web | sed -n 's/.*"\(tcp:[^"]*\)".*/\1/p' | head -n 1)

say "reforkctl status"
"$bin/reforkctl" status

say "32 clients are busy for 5 seconds; once a second the request of one of them throws"
echo "(a request that throws is a culprit; all others are bystanders)"
"$bin/bench/load" "$address" --path '/?delay=10' --clients 32 --duration 5 --culprit '/error?order=4711' --culprit-rate 1 --culprits-in-pool

say "What was recorded: reforkctl failures"
"$bin/reforkctl" failures
id=$("$bin/reforkctl" --json failures list -n 1 | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -n 1)
"$bin/reforkctl" failures show "$id"

say "reforkctl status: the failed workers are gone, their replacements serve"
"$bin/reforkctl" status

if [ -t 0 ] && [ -t 1 ]; then
  url=http://${address#tcp://}
  say "Still serving at $url until Ctrl-C"
  echo "  curl -i $url/error        # one request fails"
  echo "  REFORK_CONTROL=$dir/control $bin/reforkctl events"
  wait "$reforkd"
fi
