#!/usr/bin/env bash
# machine.sh TREE NAME [NSPAWN-OPTION...]: boots an overlay over TREE until it is powered off or its systemd is killed. Nothing
# of it stays: the overlay is in memory, its mount in a namespace of its own.
set -euo pipefail
tree=$1 name=$2
shift 2
if [ -z "${REFORK_MACHINE_MOUNTS:-}" ]; then
  REFORK_MACHINE_MOUNTS=1 exec unshare --mount --propagation private "$0" "$tree" "$name" "$@"
fi

# Every machine in a cgroup of its own: systemd-nspawn names its payload alike for all.
cgroups=()
for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
  [ -e "$hierarchy/cgroup.procs" ] || continue
  mkdir -p "$hierarchy/$name"
  echo $$ >"$hierarchy/$name/cgroup.procs"
  cgroups+=("$hierarchy")
done
leave() {
  for hierarchy in "${cgroups[@]}"; do
    echo $$ >"$hierarchy/cgroup.procs"
    find "$hierarchy/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
trap leave EXIT

work=/run/$name
mkdir -p "$work"
mount -t tmpfs -o mode=0755 "$name" "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" "$name" "$work/root"
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --directory "$work/root" --machine "$name" --register=no --keep-unit \
  --boot --console=pipe --private-network "$@" </dev/null || true
umount "$work/root" "$work"
rmdir "$work"
