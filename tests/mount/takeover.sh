#!/bin/sh
# SPDX-License-Identifier: MIT
# takeover.sh BUILD - a standby takes over from a server that is killed, hangs or crashes; programs notice nothing.
. "$(dirname "$0")/lib.sh"

wait_standby() { # until one is ready: 5 s
    for _ in $(seq 100); do
        standby=$(field standby.pid)
        [ "$standby" != 0 ] && return 0
        sleep 0.05
    done
    return 1
}

takes_over() { # how... : the standby is the server afterwards
    wait_standby || return 1
    heir=$standby
    "$@" || return 1
    for _ in $(seq 100); do
        [ "$(field server.pid)" = "$heir" ] && [ "$(field server.state)" = serving ] && return 0
        sleep 0.05
    done
    return 1
}

kill_server() { kill -9 "$(field server.pid)"; }
kill_standby() { kill -9 "$standby"; }
kill_both() { server=$(field server.pid); kill -9 "$standby" "$server"; }

# Operations whose every result is known; ends with the first surprise.
cat >"$work/load.py" <<'END'
import os, sys, time
top, seconds = sys.argv[1], float(sys.argv[2])
os.makedirs(top)
until, n = time.monotonic() + seconds, 0
kept = open(top + "/kept", "w+b", buffering=0)
longest = 0
while time.monotonic() < until:
    began = time.monotonic()
    a, b = f"{top}/a{n}", f"{top}/b{n}"
    fd = os.open(a, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
    ino = os.fstat(fd).st_ino
    os.write(fd, b"x" * (n % 9000))
    os.rename(a, b)
    assert os.stat(b).st_ino == ino and os.stat(b).st_size == n % 9000
    os.lseek(fd, 0, 0)
    assert os.read(fd, 10000) == b"x" * (n % 9000)
    if n % 3 == 0:
        os.unlink(b)
        assert os.fstat(fd).st_nlink == 0
        os.write(fd, b"gone")
    os.close(fd)
    kept.write(b"%08d" % n)
    os.mkdir(f"{top}/d{n}")
    if n % 2:
        os.rmdir(f"{top}/d{n}")
    longest = max(longest, time.monotonic() - began)
    n += 1
kept.seek(0)
assert kept.read() == b"".join(b"%08d" % i for i in range(n))
names = sorted(os.listdir(top))
want = sorted(["kept"] + [f"b{i}" for i in range(n) if i % 3] + [f"d{i}" for i in range(0, n, 2)])
assert names == want, (len(names), len(want))
print(f"{n} rounds, longest {longest * 1000:.1f} ms")
END

load_under_kills() { # name seconds
    python3 "$work/load.py" "$mnt/$1" "$2" >"$work/load.out" 2>&1 &
    load=$!
    while kill -0 "$load" 2>/dev/null; do
        wait_standby && kill_server
        sleep 0.1
    done
    wait "$load"
    rc=$?
    cat "$work/load.out"
    echo "# $(cat "$work/load.out" | tail -n 1), $(field recoveries.count) recoveries, p50 $(field recoveries.pause_ms.p50) ms" >&3
    return "$rc"
}
exec 3>&1

rig_start 256M hang=1
ok "a standby becomes ready" wait_standby
for round in 1 2 3; do
    ok "of a killed server the standby takes over ($round)" takes_over kill_server
done
ok "of a hung server the standby takes over" takes_over "$drover" inject "$mnt" hang
ok "a pause is known for each" test "$(field recoveries.count)" = 4
wait_standby
ok "a standby is killed" kill_standby
ok "it is replaced" wait_standby
both_die() { wait_standby && kill_both && ls "$mnt" >/dev/null; }
ok "when both are killed a third one serves" both_die
ok "a program under kills sees no error and nothing amiss" load_under_kills load 8
ok "and so does what comes after" load_under_kills again 3
rig_umount || tap "not ok" "unmounts in between"
ok "e2fsck finds nothing to mend in between" fsck_clean
rig_mount
ok "a standby becomes ready again" wait_standby
old=$(field server.pid)
ok "the guardian is killed" kill -9 "$(field guardian.pid)"
ok "the server goes on" touch "$mnt/alone"
ok "the server is killed, too" kill -9 "$old"
ok "the standby serves" ls "$mnt/alone"
ok "unmounts without a guardian" umount "$mnt"
gone() { for _ in $(seq 100); do flock -n "$img" true && ! kill -0 "$standby" 2>/dev/null && return 0; is_zombie "$standby" && return 0; sleep 0.05; done; return 1; }
is_zombie() { grep -q "^State:[[:space:]]*Z" "/proc/$1/status"; }
ok "nobody is left" gone
ok "e2fsck finds nothing to mend after that" fsck_clean
rig_mount standby=off
old=$(field server.pid)
ok "without a standby: the server is killed" kill_server
can_list() { ls "$mnt" >/dev/null && [ "$(field server.pid)" != "$old" ] && [ "$(field standby.pid)" = 0 ]; }
ok "without a standby: another one is started" can_list
rig_stop
rig_done
