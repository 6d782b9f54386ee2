#!/usr/bin/env bash
# packages.sh DIR: what the machines of the tests are given: DIR/packages, the packages of this tree, DIR/newer, the same of a
# higher version, and DIR/servers, examples built against those packages. Made anew when a file of this tree has changed.
set -euo pipefail
cd "$(dirname "$0")/../../.."
dir=$1
sources=$(git ls-files -z --cached --others --exclude-standard -- . ':!tests' ':!docs' | xargs -0 sha256sum | sha256sum)
[ "$(cat "$dir/.sources" 2>/dev/null || true)" = "$sources" ] && exit 0
build() {  # build NAME [OPTION...]
  local name=$1
  shift
  rm -rf "${dir:?}/$name"
  mkdir -p "$dir/$name" && rm -f build/deb/*.deb
  packaging/build-deb.sh "$@"
  cp build/deb/*.deb "$dir/$name"
}
build newer --version 0.99.0
build packages

rm -rf "$dir/sysroot" "$dir/servers"
mkdir -p "$dir/servers"
dpkg-deb -x "$dir"/packages/librefork-dev_*.deb "$dir/sysroot"
dpkg-deb -x "$dir"/packages/librefork0_*.deb "$dir/sysroot"
library=$(dirname "$(find "$dir/sysroot" -name librefork.so)")
compile() {  # compile NAME SOURCE... -- FLAG...
  local name=$1
  shift
  g++ -std=c++20 -O1 -g -I"$dir/sysroot/usr/include" -Iexamples "$@" -L"$library" -lrefork -pthread -o "$dir/servers/$name"
}
compile http_asio examples/http_asio.cc examples/common.cc
compile http_threads examples/http_threads.cc examples/common.cc -lcpp-httplib $(pkg-config --libs cpp-httplib)
echo "$sources" >"$dir/.sources"
