#!/bin/sh
# SPDX-License-Identifier: MIT
# sync.sh BUILD - sync(2) and syncfs(2): what was written before is on the disk when they return.
# The image is copied right after, while mounted: the copy is what a power failure would leave.
. "$(dirname "$0")/lib.sh"

rounds=${ROUNDS:-20}
copy=$work/copy.img

heard() { findmnt -n -o FSTYPE "$mnt" | grep -q '^fuseblk'; }
cpu_ticks() { # of all processes of this mount
    for pid in $(cat "$work/$$.pid"); do
        sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'
    done | awk '{ sum += $1 } END { print sum }'
}
is_idle() {
    before=$(cpu_ticks)
    sleep 3
    after=$(cpu_ticks)
    echo "$before $after ticks"
    [ $((after - before)) -le 3 ]
}

# One large file and many small ones, a rename, a removal; sizes that end within a block.
make_files() { # dir
    mkdir "$1" &&
        head -c 3000001 /dev/urandom >"$1/large" &&
        for i in 1 2 3 4 5 6 7 8 9; do echo "$1 $i" >"$1/small$i" || return 1; done &&
        mv "$1/small9" "$1/renamed" && rm "$1/small8" && truncate -s 100 "$1/small7"
}

# After the replay of the journal the copy has the tree, byte for byte.
copy_has() { # dir
    rm -rf "$work/dumped"
    mkdir "$work/dumped"
    e2fsck -fy "$copy" || [ $? = 1 ] || return 1
    e2fsck -fn "$copy" && debugfs -R "rdump /$(basename "$1") $work/dumped" "$copy" &&
        diff -r "$1" "$work/dumped/$(basename "$1")"
}

after() { # what dir
    make_files "$2" || return 1
    case $1 in
    sync) sync ;;
    syncfs) sync -f "$2/large" ;;
    esac || return 1
    cp --sparse=always "$img" "$copy" && copy_has "$2"
}

all_rounds() { # what
    for round in $(seq "$rounds"); do
        after "$1" "$mnt/$1$round" || { echo "in round $round"; return 1; }
    done
}

# Far more than the kernel sends at once: it takes several rounds to have it all.
many() {
    mkdir "$mnt/many"
    for i in $(seq 3000); do echo "$i" >"$mnt/many/$i"; done
    head -c 200000000 /dev/zero | tr '\0' x >"$mnt/many/large"
    sync -f "$mnt" && cp --sparse=always "$img" "$copy" && copy_has "$mnt/many"
}

# A writer that never stops must not keep a sync for ever.
beside_a_writer() {
    (while :; do echo x; done) >"$mnt/endless" &
    writer=$!
    echo "$writer" >"$work/writer.pid"
    timeout 90 sync -f "$mnt"
    rc=$?
    kill "$writer"
    wait "$writer" 2>/dev/null
    rm -f "$work/writer.pid" "$mnt/endless"
    return "$rc"
}

# The server is killed while the sync is under way: its successor answers.
killed_meanwhile() {
    make_files "$mnt/killed"
    "$drover" inject "$mnt" hang || return 1
    sync -f "$mnt" &
    syncer=$!
    sleep 0.3
    "$drover" inject "$mnt" crash || return 1
    wait "$syncer"
}

unmounted_beside_syncs() {
    for round in 1 2 3 4 5 6 7 8 9 10; do
        sync &
        echo x >"$mnt/x"
        sync &
        rig_umount || return 1
        wait
        rig_mount syncfs
    done
}

rig_start 600M syncfs
if ! heard; then
    tap ok "sync # SKIP the mount is not of the type that hears of it (no loop devices)"
    rig_stop
    rig_done
fi
ok "after sync all of it is on the disk" all_rounds sync
ok "after syncfs all of it is on the disk" all_rounds syncfs
ok "many dirty files" many
ok "a sync beside a writer ends" beside_a_writer
ok "a sync with nothing to do" sync -f "$mnt"
ok "a sync ends when the server dies meanwhile" killed_meanwhile
sleep 1
remember_pids
ok "nobody works when nothing is done" is_idle
ok "a sync(2) meanwhile does not keep it from being unmounted" unmounted_beside_syncs
rig_stop
rig_done
