#!/bin/bash
# Prints the Debian mirror of this machine, from apt's own sources, so that no script has to name a host.
# Needs a Debian machine and an earlier `apt-get update`.
set -euo pipefail
source /etc/os-release
uri=$(apt-get indextargets --format '$(REPO_URI)' \
  'Created-By: Packages' 'Origin: Debian' 'Label: Debian' "Codename: ${VERSION_CODENAME:-none}" | sed -n 1p)
if [[ -z $uri ]]; then
  echo "cannot find a mirror of Debian: apt has no package lists of ${PRETTY_NAME:-this system} from one; on Debian, apt-get update" >&2
  exit 1
fi
echo "$uri"
