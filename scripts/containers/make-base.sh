#!/bin/bash
# Makes the two base images of the Dockerfiles without a registry, from Debian packages and npm:
# debian:bookworm-slim and node:24-bookworm-slim, similar enough to the real images for a test. Needs root,
# `npm ci` done, and: apt-get install podman buildah runc netavark debootstrap
set -euo pipefail
source "$(dirname "$0")/settings.sh"

root=$work/rootfs
node=$repository/node_modules/node/bin/node
if [[ $architecture != $(dpkg --print-architecture) ]]; then
  # npm's name of the architecture, equal to dpkg's name except for x64.
  npm install --prefix "$work/node" --no-save --no-audit --ignore-scripts --force \
    "node-linux-${architecture/amd64/x64}@$(node -p 'process.versions.node')"
  node=$(echo "$work"/node/node_modules/node-linux-*/bin/node)
fi
# If a proxy inspects TLS, only the machine's own bundle has its certificate.
authorities=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

import() { # name, then more arguments of podman import
  local name=$1
  shift
  tar -C "$root" --numeric-owner -c . |
    podman import --quiet --arch "$architecture" --change "ENV PATH=$path" "$@" - "localhost/$name"
}

rm -rf "$root"
debootstrap --arch="$architecture" --variant=minbase bookworm "$root" "$("$repository/scripts/debian-mirror.sh")"

# A "slim" image has no manuals and no translations, neither now nor from later packages.
rm -rf "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/lib/apt/lists/* \
  "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin
printf 'path-exclude /usr/share/%s/*\n' doc man info locale > "$root/etc/dpkg/dpkg.cfg.d/slim"
import debian:bookworm-slim --change 'CMD ["bash"]'

install -m 755 "$node" "$root/usr/local/bin/node"
npm install --global --prefix "$root/usr/local" --no-audit npm@11
chroot "$root" groupadd --gid 1000 node
chroot "$root" useradd --uid 1000 --gid node --shell /bin/bash --create-home node
install -D -m 644 "$authorities" "$root/usr/local/share/machine-ca.crt"
import node:24-bookworm-slim --change 'CMD ["node"]' \
  --change 'ENV NODE_EXTRA_CA_CERTS=/usr/local/share/machine-ca.crt'

rm -rf "$root"
podman images
