# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: sets their directory, and a separate podman. The machine's own podman, its
# images and its configuration are neither read nor changed.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${BERTH_CONTAINERS_DIR:-/var/tmp/berth-containers}
# The architecture of the images; another architecture than the machine's needs the preparation of
# emulated.sh.
architecture=${BERTH_ARCHITECTURE:-$(dpkg --print-architecture)}
mkdir -p "$work"
# Node 24, independent of the machine's Node.
export PATH=$repository/node_modules/.bin:$PATH

cat > "$work/containers.conf" <<END
[containers]
# As root, podman raises these to the limits of the kernel, which a sandbox may refuse.
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"
[engine]
# crun fails on a machine with both versions of cgroups; neither systemd nor a journal is needed.
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_backend = "netavark"
END
# In a container an overlay would be on another overlay, which the kernel refuses; there layers are copied.
driver=overlay
[[ $(stat --file-system --format %T "$work") != overlayfs ]] || driver=vfs
cat > "$work/storage.conf" <<END
[storage]
driver = "$driver"
graphroot = "$work/store"
runroot = "$work/run"
END

export CONTAINERS_CONF=$work/containers.conf
export CONTAINERS_STORAGE_CONF=$work/storage.conf
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-oci}
