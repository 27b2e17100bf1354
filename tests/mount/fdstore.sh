#!/bin/sh
# SPDX-License-Identifier: MIT
# fdstore.sh BUILD - the guardian itself is killed under a service manager that keeps its descriptors: another
# one takes over, and programs notice nothing. The manager is a stand-in (service_manager.py).
. "$(dirname "$0")/lib.sh"
manager=$(cd "$(dirname "$0")" && pwd)/service_manager.py

cat >"$work/hold.py" <<'END'
import os, sys, time
top, stop = sys.argv[1:]
kept = open(top + "/kept", "w+b", buffering=0)
gone = open(top + "/gone", "w+b", buffering=0)
os.unlink(top + "/gone")
n = 0
while not os.path.exists(stop):
    kept.write(b"%08d" % n)
    gone.write(b"%08d" % n)
    fd = os.open(f"{top}/f{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b"%d" % n)
    os.close(fd)
    n += 1
    time.sleep(0.002)
for f in kept, gone:
    f.seek(0)
    assert f.read() == b"".join(b"%08d" % i for i in range(n)), "content"
assert os.fstat(gone.fileno()).st_nlink == 0
for i in range(n):
    assert open(f"{top}/f{i}").read() == str(i)
END

start() { # [name=value...]: the manager, which starts the guardian
    rm -f "$work/ready"
    env "$@" python3 "$manager" "$work/main" "$work/ready" "$build/src/guardian/drover-guardian" -f -o hang=2 -- "$img" "$mnt" >"$work/manager.out" 2>&1 &
    manager_pid=$!
    for _ in $(seq 100); do
        [ -s "$work/ready" ] && mountpoint -q "$mnt" && break
        sleep 0.05
    done
    remember_pids
}

kill_guardian() { # and wait for the next
    lines=$(wc -l <"$work/ready")
    kill -9 "$(cat "$work/main")"
    for _ in $(seq 100); do
        [ "$(wc -l <"$work/ready")" -gt "$lines" ] && remember_pids && return 0
        sleep 0.05
    done
    return 1
}

is_dead() { case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) in ''|Z*|X*) ;; *) return 1 ;; esac; }
is_new() { [ "$(field guardian.pid)" = "$(cat "$work/main")" ] && [ "$(field server.pid)" != "$old" ] && is_dead "$old"; }
has_standby() {
    for _ in $(seq 100); do
        [ "$(field standby.pid 2>/dev/null || echo 0)" != 0 ] && return 0
        sleep 0.05
    done
    return 1
}
server_dies_too() { has_standby && kill -9 "$(field server.pid)" && ls "$mnt" >/dev/null; }
manager_ends() { wait "$manager_pid"; cat "$work/manager.out"; [ "$(tail -n 1 "$work/manager.out")" = "left:" ]; }

"$drover" mkfs --size 128M "$img" >"$work/mkfs.out" 2>&1 || { cat "$work/mkfs.out"; exit 1; }
for mode in 0 1; do
    kind=$([ "$mode" = 0 ] && echo "all its servers are killed with it" || echo "its servers live on")
    rm -f "$work/stop"
    start KEEP_REST=$mode
    ok "the guardian mounts and says so ($kind)" test -s "$work/ready"
    ok "it has stored what must not be closed" grep -q "drover-disk drover-fuse drover-legacy drover-pid-[0-9]* drover-state" "$work/ready"
    mkdir "$mnt/load$mode"
    python3 "$work/hold.py" "$mnt/load$mode" "$work/stop" >"$work/hold.out" 2>&1 &
    holder=$!
    for round in 1 2 3; do
        ok "a standby becomes ready ($round)" has_standby
        old=$(field server.pid)
        ok "the guardian is killed, and replaced ($round)" kill_guardian
        ok "the old server is gone, another one serves ($round)" is_new
    done
    ok "a server's death after that is nothing new" server_dies_too
    touch "$work/stop"
    ok "a program with open files noticed nothing" wait "$holder"
    sed 's/^/# /' "$work/hold.out"
    ok "unmounts" "$drover" umount "$mnt"
    ok "the manager is left with nothing" manager_ends
    rm -f "$work"/*.pid
done
ok "e2fsck finds nothing to mend" fsck_clean
rig_done
