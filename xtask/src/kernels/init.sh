#!/bin/busybox sh
# The first process of a virtual machine: mounts what a node has, runs the suites, and says on the console how each ended.
export PATH=/bin
mount() { busybox mount "$@"; }
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# In the order in which they need each other.
for module in /modules/*; do busybox insmod "$module" || echo "no $module"; done
ip link set lo up
# From here on the kernel speaks only if it dies: its words would land in the middle of a runner's lines.
busybox dmesg -n 1
for suite in /suites/*; do
    echo "weft: begin ${suite##*/}"
    "$suite" --ignored --test-threads=1 2>&1
    echo "weft: end ${suite##*/} $?"
done
echo "weft: done"
busybox poweroff -f
