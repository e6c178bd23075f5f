#!/bin/bash
# emulated.sh [arm64 | amd64]: builds both images for another architecture than this machine's, and runs the
# pod on them (test/containers/emulated.ts). qemu emulates every program of the images. Takes ten to 25
# minutes, less when the bases exist; so no other script runs it. Needs root, `npm ci` done, the programs of
# test.sh, and: apt-get install --no-install-recommends qemu-user-static
# The kernel keeps the registered emulators for each user namespace. The script uses a new namespace, so the
# machine's own settings do not change.
set -euo pipefail
cd "$(dirname "$0")/../.."

within() {
  source scripts/containers/settings.sh
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  cat "/usr/lib/binfmt.d/qemu-$1.conf" > /proc/sys/fs/binfmt_misc/register
  podman image exists localhost/node:24-bookworm-slim || scripts/containers/make-base.sh
  scripts/containers/build.sh
  local cli
  cli=@anthropic-ai/claude-code-linux-${architecture/amd64/x64}@$(
    node -p 'require("./package.json").devDependencies["@anthropic-ai/claude-code"]'
  )
  BERTH_TEST_TARBALL=$work/$(npm pack --silent --pack-destination "$work" "$cli")
  export BERTH_TEST_TARBALL
  # A network that belongs to this namespace, as runc requires.
  unshare --net bash -c 'ip link set lo up && exec node scripts/test.ts --timeout 900 "$0"' \
    test/containers/emulated.ts
}

case ${1:-arm64} in
  --within)
    # The parent first maps the ids of this namespace: the same as outside.
    read -r && exec < /dev/null
    within "$2"
    exit
    ;;
  arm64) machine=aarch64 ;;
  amd64) machine=x86_64 ;;
  *) echo "usage: $0 [arm64 | amd64]" >&2 && exit 64 ;;
esac
export BERTH_ARCHITECTURE=${1:-arm64}
export BERTH_CONTAINERS_DIR=${BERTH_CONTAINERS_DIR:-/var/tmp/berth-$BERTH_ARCHITECTURE}
# container=lxc makes debootstrap create no devices; build steps get no cgroups of their own.
export container=lxc BUILDAH_ISOLATION=chroot

begin=$(mktemp -u)
mkfifo "$begin"
unshare --user --mount "$PWD/scripts/containers/emulated.sh" --within "$machine" < "$begin" &
child=$!
exec 3> "$begin"
rm "$begin"
until [[ $(readlink "/proc/$child/ns/user") != "$(readlink /proc/self/ns/user)" ]]; do sleep 0.05; done
echo '0 0 65536' > "/proc/$child/uid_map"
echo '0 0 65536' > "/proc/$child/gid_map"
echo >&3
wait "$child"
