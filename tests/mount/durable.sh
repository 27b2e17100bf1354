#!/bin/sh
# SPDX-License-Identifier: MIT
# durable.sh BUILD - server, guardian and whatever they started are killed at once, in the middle of
# work: what was fsynced is there for the next mount, for e2fsck and for the kernel's own ext4.
. "$(dirname "$0")/lib.sh"

# work.py DIR LIST: works for ever. What is certain, because an fsync said so, is appended to LIST (which
# is elsewhere): "sum path" for a file that is there, "- path" for a name that is gone.
cat >"$work/work.py" <<'PYTHON'
import hashlib, os, random, sys
top, sure = sys.argv[1], open(sys.argv[2], "a", buffering=1)
rng = random.Random(sys.argv[3])

def put(path, data, flags=os.O_CREAT | os.O_WRONLY):
    fd = os.open(path, flags, 0o644)
    os.write(fd, data)
    return fd

def sync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)

def note(path, data):
    sure.write(f"{hashlib.sha256(data).hexdigest()} {path}\n")

os.makedirs(top, exist_ok=True)
for i in range(1000000):
    directory = f"{top}/d{i % 7}"
    os.makedirs(directory, exist_ok=True)
    data = rng.randbytes(rng.choice((10, 4096, 5000, 70000)))
    fd = put(f"{directory}/f{i}", data)
    kind = i % 5
    if kind == 0:       # only written: nobody promised anything
        os.close(fd)
    elif kind == 1:     # written and synced
        os.fsync(fd)
        note(f"{directory}/f{i}", data)
        os.close(fd)
    elif kind == 2:     # the careful editor: new file, fsync, rename, fsync of the directory
        os.fsync(fd)
        os.close(fd)
        os.rename(f"{directory}/f{i}", f"{directory}/careful{i}")
        sync_dir(directory)
        note(f"{directory}/careful{i}", data)
        sure.write(f"- {directory}/f{i}\n")
    elif kind == 3:     # appended to, synced with fdatasync
        os.fsync(fd)
        os.write(fd, b"more")
        os.fdatasync(fd)
        note(f"{directory}/f{i}", data + b"more")
        os.close(fd)
    else:               # gone for good
        os.fsync(fd)
        os.close(fd)
        os.unlink(f"{directory}/f{i}")
        sync_dir(directory)
        sure.write(f"- {directory}/f{i}\n")
PYTHON

# kept.py LIST FROM TO: all of LIST is true when FROM is read as TO.
cat >"$work/kept.py" <<'PYTHON'
import hashlib, os, sys
known, wrong = {}, 0
for line in open(sys.argv[1]):
    if line.endswith("\n"):
        word, path = line.split()
        known[path] = word
for path, word in known.items():
    path = path.replace(sys.argv[2], sys.argv[3], 1)
    there = hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.exists(path) else "-"
    if there != word:
        wrong += 1
        print(f"{path}: {there}, not {word}")
print(f"{len(known)} names, {wrong} wrong")
sys.exit(wrong > 0 or len(known) < 20)
PYTHON

pids_of() { # server|guardian
    "$drover" status --json "$mnt" | tr -d ' \n' | sed -n "s/.*\"$1\":{[^}]*\"pid\":\\([0-9]*\\).*/\\1/p"
}
ended() { # pid...
    for pid in "$@"; do
        timeout 10 tail --pid="$pid" -s 0.05 -f /dev/null || return 1
    done
}

# The guardian first, or it would bring the server back.
kill_all() {
    guardian=$(pids_of guardian)
    server=$(pids_of server)
    [ -n "$guardian" ] && [ -n "$server" ] || return 1
    children=$(cat "/proc/$guardian/task/$guardian/children")
    # shellcheck disable=SC2086
    kill -9 "$guardian" $children
    kill -9 "$server" 2>/dev/null
    # shellcheck disable=SC2086
    ended "$guardian" "$server" $children
}
work_until_killed() { # round
    python3 "$work/work.py" "$mnt/round$1" "$work/sure" "$1" 2>/dev/null &
    worker=$!
    sleep 1
    kill_all
    rc=$?
    wait "$worker" && return 1      # it must have met an error: nobody serves
    umount -l "$mnt" && rm -f "$work"/*.pid && return $rc
}
kept() { python3 "$work/kept.py" "$work/sure" "$mnt" "$1"; }

# On copies, so that drover's own recovery has its turn too.
e2fsck_recovers() {
    cp --sparse=always "$img" "$work/copy.img"
    e2fsck -y -E journal_only "$work/copy.img"
    [ $? -le 1 ] && e2fsck -fn "$work/copy.img"
}
kernel_recovers() {
    cp --sparse=always "$img" "$work/copy.img"
    mount -t ext4 -o loop "$work/copy.img" "$work/kernel" || return 1
    kept "$work/kernel"
    rc=$?
    umount "$work/kernel" && e2fsck -fn "$work/copy.img" && return $rc
}

for mode in ordered data; do
    rig_start 256M "journal=$mode"
    rm -f "$work/sure"
    for round in 1 2; do
        ok "$mode $round: everything is killed in the middle of work" work_until_killed "$round"
        ok "$mode $round: e2fsck replays the journal and finds nothing else" e2fsck_recovers
        if [ -c /dev/loop-control ]; then
            ok "$mode $round: the kernel's ext4 recovers all that was fsynced" kernel_recovers
        fi
        rig_mount "journal=$mode"
        ok "$mode $round: so does drover" kept "$mnt"
    done
    ok "$mode: the volume can be written" sh -c "echo again >$mnt/again && cat $mnt/again"
    rig_stop
    rm -f "$img"
done
rig_done
