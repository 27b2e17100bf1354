#!/bin/sh
# SPDX-License-Identifier: MIT
# enospc_write.sh BUILD - a write(2) that returned never fails later for want of space.
. "$(dirname "$0")/lib.sh"
fill=$build/tests/mount/fill

free_kb() { df -k --output=avail "$mnt" | tail -n 1 | tr -d ' '; }

fill_up() { # processes, bytes a write, bytes a file
    before=$(free_kb)
    "$fill" write "$mnt" "$1" "$2" "$3" >"$work/files" || return 1
    after=$(free_kb)
    echo "available $before KiB, left $after KiB, files $(wc -l <"$work/files")"
}

filled_to() { # percent
    [ "$((100 * (before - after)))" -gt "$(($1 * before))" ] || { echo "available $before KiB, left $after KiB"; return 1; }
}

usable_when_full() {
    ls -lR "$mnt" >/dev/null && df "$mnt" >/dev/null && "$fill" verify "$mnt" <"$work/files" && mv "$mnt/fill-0-0" "$mnt/x" &&
        mv "$mnt/x" "$mnt/fill-0-0" && head -c 100 "$mnt/fill-0-0" >/dev/null
}

there_after_remount() { rig_umount && rig_mount && "$fill" verify "$mnt" <"$work/files"; }

writable_again() {
    rm -f "$mnt"/fill-* && sync -f "$mnt" && head -c 3000000 /dev/urandom >"$work/bytes" && cp "$work/bytes" "$mnt/again" &&
        cmp "$work/bytes" "$mnt/again" && rm "$mnt/again"
}

sequence() { # processes, bytes a write, bytes a file, percent
    ok "filled by $1 with writes of $2 into files of $3" fill_up "$1" "$2" "$3"
    ok "to $4 % of what was available" filled_to "$4"
    ok "reads, stats and names work on the full volume" usable_when_full
    ok "after a remount every byte is there" there_after_remount
    ok "after deletion writes work again" writable_again
}

many=100000000000
for size in 64M 512M; do
    percent=95
    rm -f "$img"
    rig_start "$size"
    ok "an immutable file takes no write(2)" "$fill" immutable "$mnt/immutable"
    for processes in 1 4; do
        for bytes in 4096 65536; do
            sequence "$processes" "$bytes" "$many" "$percent"
        done
    done
    sequence 4 8192 65536 "$percent"
    rig_stop
done
rig_done
