#!/usr/bin/env bash
# packages.sh [DIR]: what is in the Debian packages in DIR (build/deb), without installing them: their files, who owns them, what
# they depend on; and a program is built against the unpacked library, by pkg-config and by CMake.
set -euo pipefail
cd "$(dirname "$0")/../.."
debs=$(realpath "${1:-build/deb}")
version=$(sed -n 's/^project(refork VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

wrong() {
  echo "$*" >&2
  failed=1
}

deb() {
  local found=("$debs/${1}_$version"-*.deb)
  [ -e "${found[0]}" ] || { echo "there is no package $1 of version $version in $debs" >&2; exit 1; }
  echo "${found[0]}"
}

files() {  # of a package, and its directories that are empty
  dpkg-deb -c "$(deb "$1")" | awk '{ print substr($6, 2) }' | awk '{ all[NR] = $0; for (p = $0; sub(/[^\/]+\/?$/, "", p);) full[p] = 1 }
    END { for (i = 1; i <= NR; i++) if (!(all[i] in full)) print all[i] }'
}

has_just_what_the_list_says() {
  local list=tests/packaging/contents/$1.txt file pattern
  mapfile -t patterns < <(grep -v '^#' "$list")
  mapfile -t present < <(files "$1")
  for file in "${present[@]}"; do
    for pattern in "${patterns[@]}"; do
      # shellcheck disable=SC2053
      [[ $file == $pattern ]] && continue 2
    done
    wrong "$1 has $file, which is not in $list"
  done
  for pattern in "${patterns[@]}"; do
    for file in "${present[@]}"; do
      # shellcheck disable=SC2053
      [[ $file == $pattern ]] && continue 2
    done
    wrong "$1 has no $pattern, which is in $list"
  done
}

belongs_to_root_and_is_written_by_nobody_else() {
  local mode owner name
  while read -r mode owner _ _ _ name _; do
    [ "$owner" = root/root ] || wrong "$1: $name belongs to $owner"
    case $mode in
      l*) ;;
      d*) [ "$mode" = drwxr-xr-x ] || wrong "$1: $name has the mode $mode" ;;
      *) case $name in
           ./usr/bin/* | ./usr/libexec/*) [ "$mode" = -rwxr-xr-x ] || wrong "$1: $name has the mode $mode" ;;
           *) [ "$mode" = -rw-r--r-- ] || wrong "$1: $name has the mode $mode" ;;
         esac ;;
    esac
  done < <(dpkg-deb -c "$(deb "$1")")
}

depends_on() {  # PACKAGE: names of other packages, versions aside
  dpkg-deb -f "$(deb "$1")" Depends Pre-Depends | sed 's/^[A-Za-z-]*: //; s/([^)]*)//g' | sed 's/[,|]/\n/g' | tr -d ' '
}

depends_on_what_its_programs_link() {
  local file needed owner triplet
  triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
  while read -r file; do
    while read -r needed; do
      owner=$(dpkg -S "*/$triplet/$needed" | head -n 1 | cut -d: -f1)
      depends_on "$1" | grep -x "$owner" >/dev/null || wrong "$1: $file needs $needed of $owner, which it does not depend on"
    done < <(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux')
  done < <(find "$work/$1" -type f \( -path '*/bin/*' -o -path '*/libexec/*' -o -name '*.so.*' \))
}

has_debugging_symbols_of_its_own() {  # PACKAGE FILE
  local id
  id=$(readelf -n "$work/$1/$2" | sed -n 's/.*Build ID: //p')
  dpkg-deb -c "$(deb "$1-dbgsym")" | grep "/.build-id/${id:0:2}/${id:2}.debug" >/dev/null ||
     wrong "$1-dbgsym has nothing for $2"
}

# A prefix that is not where it was built for: everything in it must be found relative to itself.
builds_a_program_that_needs_the_library_alone() {
  local root=$work/sysroot library flags
  dpkg-deb -x "$(deb librefork0)" "$root"
  dpkg-deb -x "$(deb librefork-dev)" "$root"
  library=$(dirname "$(find "$root" -name librefork.so)")
  export PKG_CONFIG_PATH=$library/pkgconfig LD_LIBRARY_PATH=$library
  flags=$(pkg-config --cflags --libs refork)
  # shellcheck disable=SC2086
  g++ -std=c++17 tests/integration/install_project/main.cc -o "$work/by_pkg_config" $flags
  "$work/by_pkg_config" >/dev/null 2>&1 || wrong "what pkg-config builds does not run"
  {
    cmake -S tests/integration/install_project -B "$work/cmake" -DCMAKE_PREFIX_PATH="$root/usr" -G Ninja
    cmake --build "$work/cmake"
  } >"$work/cmake.log" 2>&1 || { cat "$work/cmake.log" >&2; wrong "find_package does not work"; return 0; }
  "$work/cmake/with_shared" >/dev/null 2>&1 || wrong "what CMake builds with the shared library does not run"
  "$work/cmake/with_static" >/dev/null 2>&1 || wrong "what CMake builds with the static library does not run"
  # What a package of this program would depend on.
  mkdir -p "$work/client/debian"
  echo 'Source: client' >"$work/client/debian/control"
  dpkg-deb -e "$(deb librefork0)" "$work/librefork0-control"
  flags=$(cd "$work/client" && dpkg-shlibdeps -O -L"$work/librefork0-control/shlibs" -l"$library" -e"$work/by_pkg_config" 2>/dev/null)
  [[ $flags == *librefork0* && $flags != *reforkd* ]] || wrong "a program that is linked to librefork would depend on: $flags"
}

for package in reforkd librefork0 librefork-dev; do
  dpkg-deb -x "$(deb "$package")" "$work/$package"
  has_just_what_the_list_says "$package"
  belongs_to_root_and_is_written_by_nobody_else "$package"
  depends_on_what_its_programs_link "$package"
done
has_debugging_symbols_of_its_own reforkd usr/bin/reforkd
has_debugging_symbols_of_its_own reforkd usr/bin/reforkctl
has_debugging_symbols_of_its_own reforkd usr/libexec/refork/refork-symbolizer
has_debugging_symbols_of_its_own librefork0 "$(cd "$work/librefork0" && find usr -name 'librefork.so.0.*')"
builds_a_program_that_needs_the_library_alone
exit "$failed"
