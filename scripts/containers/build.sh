#!/bin/bash
# Builds both images on the bases of make-base.sh. The runtime image gets the CLI when a version is
# given: INSTALL_CLAUDE=2.1.330 build.sh
set -euo pipefail
source "$(dirname "$0")/settings.sh"
cd "$repository"

revision=$(git rev-parse HEAD)
version=$(node -p 'require("./package.json").version')
for image in init runtime; do
  # --network host: uses the machine's own access to npm and Debian; no image registry is used.
  podman build --pull=never --network host --platform "linux/$architecture" --file "Dockerfile.$image" --tag "berth-$image" \
    --build-arg "INSTALL_CLAUDE=${INSTALL_CLAUDE:-}" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$(git show -s --format=%cI HEAD)" .
done
podman images --filter 'reference=localhost/berth-*'
