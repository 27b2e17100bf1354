#!/bin/sh
# SPDX-License-Identifier: MIT
# differential.sh BUILD - the same calls on the kernel's ext4 and on drover: nobody may see a difference.
. "$(dirname "$0")/lib.sh"

[ -c /dev/loop-control ] || skip_all "needs loop devices"

# Two copies of one volume, so that hash seeds, and with them the order of names, agree.
"$drover" mkfs --size 1G "$img" >"$work/mkfs.out" 2>&1 || { cat "$work/mkfs.out"; tap "not ok" "drover mkfs"; exit 1; }
cp --sparse=always "$img" "$work/twin.img"
if ! mount -o loop,noatime "$work/twin.img" "$work/kernel" 2>"$work/out"; then
    skip_all "the kernel does not mount ext4 here: $(cat "$work/out")"
fi
rig_mount noatime

differential() { # seed steps
    mkdir "$work/kernel/seed$1" "$mnt/seed$1" &&
        "$build/tests/posix/differential" "$work/kernel/seed$1" "$mnt/seed$1" --seed "$1" --steps "$2"
}
for seed in 1 2 3 4 5 6 7 8 9 10 11 12; do
    ok "1000 calls of seed $seed do the same on ext4 and on drover" differential $seed 1000
done

ok "the kernel's ext4 is unmounted" umount "$work/kernel"
rig_stop
rig_done
