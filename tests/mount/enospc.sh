#!/bin/sh
# SPDX-License-Identifier: MIT
# enospc.sh BUILD - a volume is filled to its last block: who is told, what is kept, what comes back.
. "$(dirname "$0")/lib.sh"

# fill.py DIR SIZE COUNT LIST: files of SIZE bytes, each written, fsynced and closed, until there is no
# room; those for which all of that succeeded come into LIST with their sum. Fails when nobody says ENOSPC.
cat >"$work/fill.py" <<'PYTHON'
import errno, hashlib, os, sys
directory, size, count, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), open(sys.argv[4], "a")
os.makedirs(directory, exist_ok=True)
for i in range(count):
    path, data, step, fd = f"{directory}/f{i}", os.urandom(size), "open", None
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        step, done = "write", 0
        while done < size:
            done += os.write(fd, data[done:])
        step = "fsync"
        os.fsync(fd)
        step, closing, fd = "close", fd, None
        os.close(closing)
    except OSError as error:
        if fd is not None:
            os.close(fd)
        print(f"file {i}: {step}: {error.strerror}")
        sys.exit(error.errno != errno.ENOSPC)
    print(hashlib.sha256(data).hexdigest() + "  " + path, file=out)
sys.exit("the volume never became full")
PYTHON

fill() { python3 "$work/fill.py" "$mnt/$1" "$2" "$3" "$work/$1.sums"; }
refilled() { rm -rf "$mnt/$1" && rm -f "$work/$1.sums" && fill "$1" "$2" "$3"; }

# Whoever hears nothing from cp has his file; the one that cp complained about is given up.
cp_until_full() {
    mkdir -p "$mnt/cp"
    for i in $(seq 200); do
        if ! cp "$work/piece" "$mnt/cp/$i" 2>"$work/said"; then
            cat "$work/said"
            rm -f "$mnt/cp/$i"
            grep -q "No space left on device" "$work/said"
            return
        fi
    done
    echo "cp never failed"
    return 1
}
copies_whole() {
    for copy in "$mnt"/cp/*; do
        cmp "$work/piece" "$copy" || return 1
    done
}
dd_until_full() { # dd's words for how
    # shellcheck disable=SC2086
    ! dd if=/dev/urandom of="$mnt/dd" bs=64k count=2000 $1 2>"$work/said" && cat "$work/said" && grep -q "No space left on device" "$work/said" &&
        rm "$mnt/dd"
}
sums_right() { sha256sum --quiet -c "$work/$1.sums"; }
free_blocks() { stat -f -c %f "$mnt"; }
# Freed blocks come back with the commit of what freed them.
free_again() {
    for i in $(seq 80); do
        [ "$(free_blocks)" -ge "$1" ] && return 0
        sync -f "$mnt"
        sleep 0.1
    done
    echo "$(free_blocks) blocks are free, not $1"
    return 1
}
remounted() { rig_umount && rig_mount; }

rig_start 64M
head -c 1500000 /dev/urandom >"$work/piece"
empty=$(free_blocks)

ok "cp fails when there is no room" cp_until_full
ok "every copy of which cp did not complain is whole" copies_whole
ok "and is after a remount" remounted
ok "byte for byte" copies_whole
ok "removed files give their blocks back" rm -rf "$mnt/cp"
ok "all of them" free_again $((empty - 8))

for how in "conv=fsync" "oflag=direct" "oflag=sync"; do
    ok "dd $how fails when there is no room" dd_until_full "$how"
    ok "and its blocks come back" free_again $((empty - 8))
done

ok "large files, until somebody says ENOSPC" fill large 3000000 100
ok "small files in what is left" fill small 5000 20000
ok "and very small ones" fill tiny 10 20000
ok "all that was fsynced is right" sums_right large
ok "and the small" sums_right small
not_ok "a full volume takes no more bytes" sh -c "head -c 100000 /dev/urandom >$work/x && dd if=$work/x of=$mnt/more conv=fsync"
ok "but files can be removed" rm -rf "$mnt/tiny" "$mnt/more"
ok "it is unmounted and mounted" remounted
ok "what was fsynced is still right" sums_right large
ok "the small too" sums_right small
ok "room made by removing is room for others" refilled small 5000 20000
ok "and these are right" sums_right small
ok "removed, all of it" rm -rf "$mnt/large" "$mnt/small"
ok "everything is free again" free_again $((empty - 200))
rig_stop
rig_done
