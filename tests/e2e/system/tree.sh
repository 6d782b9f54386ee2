#!/usr/bin/env bash
# tree.sh DIR: a Debian 12 with systemd at DIR, for the machines of the tests; made once, and anew when the list of its
# packages changes. What the packages of refork depend on is part of it: a machine has no network.
set -euo pipefail
dir=$1
packages=(systemd systemd-sysv dbus procps curl libpam-systemd nginx-light gunicorn man-db bash-completion
  libcpp-httplib0.11 libdw1 libsqlite3-0 libstdc++6 libsystemd0)
include=$(IFS=, && echo "${packages[*]}")
[ "$(cat "$dir/.packages" 2>/dev/null || true)" = "$include" ] && exit 0

# Where this machine's own packages come from.
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' |
  awk '$2 == "bookworm" && /debian/ { print $1; exit }')
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
debootstrap --variant=minbase --include="$include" bookworm "$dir" "${mirror:-http://deb.debian.org/debian}"
# Debian starts what it installs; here each test starts what it wants.
systemctl --root="$dir" disable nginx.service
rm -f "$dir"/etc/apt/sources.list "$dir"/var/cache/apt/archives/*.deb
echo "$include" >"$dir/.packages"
