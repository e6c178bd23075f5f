#!/bin/bash
# `npm run test:containers`: makes missing bases, builds both images, and runs test/containers on them.
# `test.sh images` ends after the build. With BERTH_IMAGES_BUILT=true the images were built before.
# Without podman or root it prints the reason and skips the tests; in CI (CI=true) this is a failure. To make
# the bases again, first run `rm -rf "$BERTH_CONTAINERS_DIR"`.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)

missing=
for command in podman debootstrap runc kubectl; do
  command -v "$command" > /dev/null || missing+=" $command"
done
[[ $(id -u) == 0 ]] || missing+=" root"
if [[ -n $missing ]]; then
  echo "cannot test the containers: missing:$missing; see docs/containers.md" >&2
  [[ ${CI:-} != true ]] || exit 1
  exit 0
fi

source "$repository/scripts/containers/settings.sh"
cd "$repository"
if [[ ${BERTH_IMAGES_BUILT:-} == true ]]; then
  exec node scripts/test.ts containers --jobs 1 --timeout 900
fi
podman image exists localhost/node:24-bookworm-slim ||
  scripts/containers/make-base.sh > "$work/make-base.log" 2>&1 ||
  { tail -n 40 "$work/make-base.log" >&2; exit 1; }
INSTALL_CLAUDE='' scripts/containers/build.sh > "$work/build.log" 2>&1 ||
  { tail -n 40 "$work/build.log" >&2; exit 1; }
[[ ${1:-} != images ]] || exit 0
exec node scripts/test.ts containers --jobs 1 --timeout 900
