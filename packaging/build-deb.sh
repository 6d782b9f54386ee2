#!/usr/bin/env bash
# The Debian packages of this tree, as it is, in build/deb/: installs what is missing, builds, and has lintian look at the result.
#   packaging/build-deb.sh [--version V]    V: instead of the tree's own version, as for a test of upgrades
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,3s/^# \{0,1\}//p' "$0"
  exit "$1"
}

own_version=$(sed -n 's/^project(refork VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
version=$own_version
while [ $# -gt 0 ]; do
  case $1 in
    --version) version=${2:?--version wants a version} && shift ;;
    --version=*) version=${1#*=} ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
  esac
  shift
done
[[ $version =~ ^([0-9]+)\.([0-9]+)\.([0-9]+)$ ]] || { echo "--version $version: expected three numbers, as 0.2.0" >&2; exit 2; }
numbers=("${BASH_REMATCH[@]:1}")

out=$PWD/build/deb
work=$out/work
source=$work/refork
log=$out/build.log
mkdir -p "$out"

# step NAME COMMAND...: what it says stands in the log; on a terminal its last line is shown as it goes.
step() {
  local begin=$SECONDS
  doing=$1
  shift
  if [ -t 1 ]; then
    "$@" 2>&1 </dev/null | tee -a "$log" | while IFS= read -r line; do
      printf '\r\033[K%-24s %.*s' "$doing" $((${COLUMNS:-80} - 26)) "${line//$'\t'/ }"
    done
    printf '\r\033[K%-24s ok (%s s)\n' "$doing" $((SECONDS - begin))
  else
    "$@" >>"$log" 2>&1 </dev/null
  fi
  doing=
}

tell_failure() {
  [ -n "$doing" ] || return 0
  [ ! -t 1 ] || echo
  tail -n 60 "$log" >&3
  echo "build-deb.sh: $doing: failed; all of it is in $log" >&3
}
exec 3>&2  # the standard error of what failed is the log
doing=
trap tell_failure EXIT

build_dependencies() {  # by name, of packaging/debian/control
  sed -n '/^Build-Depends:/,/^[A-Z][^ ]*:/p' packaging/debian/control |
    sed -e '/^[A-Z]/{/^Build-Depends:/!d;s/^[^:]*://}' -e 's/([^)]*)//g; s/[, ]//g' | grep -v '^d\(ebhelper-compat\|h-sequence-\)'
}

copy_tree() {
  rm -rf "$work"
  mkdir -p "$source"
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
  else
    find . -path ./build -prune -o -type f -printf '%P\0'
  fi | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar -c --null --no-recursion -T - | tar -x -C "$source"
  cp -a "$source/packaging/debian" "$source/debian"
}

set_version() {  # in the copy
  [ "$version" != "$own_version" ] || return 0
  sed -i "s/^project(refork VERSION $own_version/project(refork VERSION $version/" "$source/CMakeLists.txt"
  sed -i -e "s/\(REFORK_VERSION_MAJOR\) .*/\1 ${numbers[0]}/" -e "s/\(REFORK_VERSION_MINOR\) .*/\1 ${numbers[1]}/" \
    -e "s/\(REFORK_VERSION_PATCH\) .*/\1 ${numbers[2]}/" -e "s/\(REFORK_VERSION\) \".*/\1 \"$version\"/" \
    "$source/lib/include/refork/version.h"
  {
    printf 'refork (%s-1) bookworm; urgency=medium\n\n  * Version %s.\n\n' "$version" "$version"
    printf ' -- %s  %s\n\n' "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" "$(date -R)"
    cat packaging/debian/changelog
  } >"$source/debian/changelog"
}

build() (
  cd "$source"
  # What was compiled once is found again, also in another checkout; debhelper gives its commands another home.
  CCACHE_DIR=$(ccache --get-config cache_dir)
  export CCACHE_DIR CCACHE_BASEDIR=$source CCACHE_NOHASHDIR=1
  export DEB_BUILD_OPTIONS="nocheck parallel=${JOBS:-$(nproc)}"
  dpkg-buildpackage --build=binary --no-sign
)

collect() {
  rm -f "$out"/*_"$version"-*
  mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$out"
  rm -rf "$work"
}

check() {
  local root=()
  [ "$(id -u)" -ne 0 ] || root=(--allow-root)
  lintian "${root[@]}" --fail-on error,warning --tag-display-limit 0 "$out"/refork_"$version"-*.changes
}

: >"$log"
mapfile -t packages < <(build_dependencies; cat packaging/deb-deps.txt)
packaging/install-deps.sh "${packages[@]}"
step "copy the tree" copy_tree
step "version $version" set_version
step "build the packages" build
step "collect them" collect
step "lintian" check
if [ -t 1 ]; then ls "$out"/*_"$version"-*.deb; fi
