#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel_reference.sh BUILD - the same questions to the kernel's ext4: it shows that the test is right.
. "$(dirname "$0")/lib.sh"
[ -c /dev/loop-control ] || skip_all "needs loop devices"

"$drover" mkfs --size 2G "$img" >/dev/null 2>&1
mount -o loop "$img" "$mnt" || skip_all "the kernel cannot mount ext4 here"
"$build/tests/posix/posix_test" "$mnt" | sed 's/^ok [0-9]* -/ok -/; s/^not ok [0-9]* -/not ok -/'
umount "$mnt"
rig_done
