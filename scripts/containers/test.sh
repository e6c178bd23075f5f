#!/bin/bash
# `npm run test:containers`: makes the bases if they are not there, builds both images, and runs
# test/containers on them. Without podman or root it says so and leaves it at that; in CI (CI=true)
# that is a failure. The bases are made anew with `rm -rf "$BERTH_CONTAINERS_DIR"`.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)

missing=
for command in podman debootstrap runc kubectl; do
  command -v "$command" > /dev/null || missing+=" $command"
done
[[ $(id -u) == 0 ]] || missing+=" root"
if [[ -n $missing ]]; then
  echo "the containers cannot be tested here, for there is no$missing (docs/containers.md)" >&2
  [[ ${CI:-} != true ]] || exit 1
  exit 0
fi

source "$repository/scripts/containers/settings.sh"
cd "$repository"
podman image exists localhost/node:24-bookworm-slim ||
  scripts/containers/make-base.sh > "$work/make-base.log" 2>&1 ||
  { tail -n 40 "$work/make-base.log" >&2; exit 1; }
INSTALL_CLAUDE='' scripts/containers/build.sh > "$work/build.log" 2>&1 ||
  { tail -n 40 "$work/build.log" >&2; exit 1; }
exec tap --timeout=900 --exclude='' "$repository"/test/containers/*.test.ts
