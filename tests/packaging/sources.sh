#!/usr/bin/env bash
# What packages are made of: scripts that their shells and shellcheck accept, and one version, one name for each symbol version.
set -euo pipefail
cd "$(dirname "$0")/../.."
failed=0

wrong() {
  echo "$*" >&2
  failed=1
}

shellcheck packaging/*.sh tests/packaging/*.sh || failed=1
shellcheck --shell=bash packaging/completions/reforkctl.bash || failed=1
zsh -n packaging/completions/_reforkctl || failed=1
fish --no-execute packaging/completions/reforkctl.fish || failed=1
for script in packaging/debian/*.postinst packaging/debian/*.prerm packaging/debian/*.postrm; do
  sed 's/^#DEBHELPER#$//' "$script" | shellcheck - || wrong "so says shellcheck of $script"
done

version=$(sed -n 's/^project(refork VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
packaged=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
[ "${packaged%-*}" = "$version" ] || wrong "packaging/debian/changelog is of $packaged, the tree of $version"

exported=$(sed -n 's/^\([A-Z][A-Za-z0-9_.]*\) {$/\1/p' lib/refork.map | sort)
listed=$(sed -n 's/^ (symver)\([^ ]*\) .*/\1/p' packaging/debian/librefork0.symbols | sort)
[ "$exported" = "$listed" ] || wrong "librefork0.symbols has $listed; lib/refork.map has $exported"

# What the build needs is named in two places, for who builds the tree and for who builds packages.
mapfile -t needed < <(awk '/^[A-Z]/ { on = sub(/^Build-Depends:/, "") } on' packaging/debian/control | sed 's/([^)]*)//g; s/[, ]//g')
for package in "${needed[@]}"; do
  [[ $package != debhelper-compat && $package != dh-sequence-* ]] || continue
  grep -qx "$package" packaging/build-deps.txt || wrong "packaging/build-deps.txt does not have $package of packaging/debian/control"
done
exit "$failed"
