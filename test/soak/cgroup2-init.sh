#!/bin/busybox sh
# The first process of the virtual machine of `npm run soak:cgroup2`. It mounts what a container runtime
# mounts, starts the guest program, and powers off. /dev/ttyS1 gets the lines of the guest program.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root NODE_COMPILE_CACHE=/root/compiled

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+memory +pids +cpu' > /sys/fs/cgroup/cgroup.subtree_control
ip link set lo up

# Swap exists, so that only memory.swap.max keeps a container from its use.
fallocate -l 256M /swap
chmod 600 /swap
mkswap /swap > /dev/null
swapon /swap

cd /berth
node_modules/node/bin/node test/soak/cgroup2-guest.ts $(cat /arguments) > /dev/ttyS1
poweroff -f
