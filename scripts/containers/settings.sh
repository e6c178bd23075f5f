# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where they work, and a podman that is theirs alone.
# Nothing of the machine's own podman, its images or its configuration is read or changed.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${BERTH_CONTAINERS_DIR:-/var/tmp/berth-containers}
# Of the images; another than the machine's own needs what emulated.sh prepares.
architecture=${BERTH_ARCHITECTURE:-$(dpkg --print-architecture)}
mkdir -p "$work"
# Node 24, whatever the machine has.
export PATH=$repository/node_modules/.bin:$PATH

cat > "$work/containers.conf" <<END
[containers]
# As root podman raises these to what the kernel allows, which a sandbox may refuse.
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"
[engine]
# crun refuses a machine that has both versions of cgroups; neither systemd nor a journal is needed.
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_backend = "netavark"
END
# Within a container an overlay would lie on another, which the kernel refuses: there layers are copied.
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
