#!/bin/sh
# SPDX-License-Identifier: MIT
# fence.sh BUILD - what a dead server had under way never lands after its successor has begun to write, or to
# read: shown with a disk whose writes take long (slow_disk.c) and that remembers when each began and ended.
#
# A loop device lies between, as files of FUSE would keep their writer from dying before its writes are done.
. "$(dirname "$0")/lib.sh"
manager=$(cd "$(dirname "$0")" && pwd)/service_manager.py
slow=$work/slow.img
loop=
disk_pid=
[ -c /dev/loop-control ] || skip_all "needs loop devices"

fence_cleanup() {
    status=$?
    trap - EXIT
    mountpoint -q "$mnt" && { umount "$mnt" 2>/dev/null || umount -l "$mnt"; }
    [ -z "$loop" ] || losetup -d "$loop" 2>/dev/null
    [ -z "$disk_pid" ] || { umount "$slow" 2>/dev/null || umount -l "$slow"; kill -9 "$disk_pid"; } 2>/dev/null
    (exit "$status")
    rig_cleanup
}
trap fence_cleanup EXIT

start_disk() { # milliseconds that a write takes at least
    "$drover" mkfs --size 64M "$img" || return 1
    : >"$slow"
    "$build/tests/mount/slow_disk" "$img" "$slow" "$work/events" "$1" &
    disk_pid=$!
    for _ in $(seq 100); do
        mountpoint -q "$slow" && break
        sleep 0.05
    done
    loop=$(losetup --find --show --direct-io=on "$slow")
}

# Writers that sync and know what must be there; ends, when there is a file `stop`, with a look at all of it.
cat >"$work/load.py" <<'END2'
import os, sys, threading
top, stop = sys.argv[1:]
SIZE = 24 * 1024
text = lambda k, n: (b"%d/%08d " % (k, n) * SIZE)[:SIZE]
failed = []
def writer(k):
    try:
        os.mkdir(f"{top}/w{k}")
        kept = os.open(f"{top}/w{k}/kept", os.O_CREAT | os.O_RDWR)
        n = 0
        while not os.path.exists(stop):
            os.pwrite(kept, text(k, n), n % 40 * SIZE)
            fd = os.open(f"{top}/w{k}/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(fd, text(k, n))
            os.rename(f"{top}/w{k}/new", f"{top}/w{k}/f{n}")
            os.fsync(kept if n % 2 else fd)
            os.close(fd)
            if n >= 40:
                os.unlink(f"{top}/w{k}/f{n - 40}")
            n += 1
        names = {"kept"} | {f"f{i}" for i in range(max(0, n - 40), n)}
        assert set(os.listdir(f"{top}/w{k}")) == names, sorted(os.listdir(f"{top}/w{k}"))
        for i in range(max(0, n - 40), n):
            assert open(f"{top}/w{k}/f{i}", "rb").read() == text(k, i), (k, i)
            assert os.pread(kept, SIZE, i % 40 * SIZE) == text(k, i), (k, i)
        print(k, n, "rounds")
    except BaseException as why:
        failed.append(why)
        raise
threads = [threading.Thread(target=writer, args=(k,)) for k in range(4)]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(bool(failed))
END2

# Kills, and looks what the disk saw. A round is "held" or "free". Held: the server is stopped and the disk holds
# its writes, so that whatever comes after the kill is the successor's; nothing may come until the disk has let
# go of the last one. Free: the server is killed as it runs, and is dead when its pidfd says so.
cat >"$work/kill.py" <<'END2'
import json, os, select, signal, subprocess, sys, time
drover, mnt, events, disk_pid, victim, kind = sys.argv[1:7]

def status():
    done = subprocess.run([drover, "status", "--json", mnt], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=10)
    return json.loads(done.stdout) if done.returncode == 0 else None        # None: no guardian at the moment

def seen():
    return [(what, *map(int, rest)) for what, *rest in (line.split() for line in open(events))]

def under_way():
    begun = {}
    for what, ns, number, off, size in seen():
        if what == "begin":
            begun[number] = ns
        elif what == "end":
            begun.pop(number, None)
    return begun

def wait_for(test, seconds=10):
    until = time.monotonic() + seconds
    while not test() and time.monotonic() < until:
        time.sleep(0.005)
    return test()

def is_served(old):
    now = status()
    return now and now["server"]["pid"] != old and now["server"]["state"] == "serving"

at_first = status()
assert at_first, "is not served"
server, standby = [at_first[who]["pid"] for who in ("server", "standby")]
assert standby, "no standby"
pid = server if victim == "server" else int(open(victim).read())
pidfd = os.pidfd_open(server)
assert wait_for(lambda: len(under_way()) >= 3), "too few writes"
if kind == "held":
    os.kill(server, signal.SIGSTOP)
    os.kill(int(disk_pid), signal.SIGUSR1)
    time.sleep(0.15)
killed = time.monotonic_ns()
os.kill(pid, signal.SIGKILL)
assert select.select([pidfd], [], [], 10)[0], "the server does not die"
dead = killed if kind == "held" else time.monotonic_ns()
left = {number for number, ns in under_way().items() if ns < killed}
if kind == "held":
    time.sleep(0.5)
    assert left <= set(under_way()), "the disk has not held its writes"
    os.kill(int(disk_pid), signal.SIGUSR2)
assert wait_for(lambda: not left & set(under_way())), "a write never ended"
wait_for(lambda: [e for e in seen() if e[0] == "begin" and e[1] > dead and e[2] not in left])

log = seen()
last_end = max(ns for what, ns, number, *_ in log if what == "end" and number in left)
first = {kind: min([ns for what, ns, number, *_ in log if what == kind and ns > dead and number not in left], default=None) for kind in ("begin", "read")}
print(f"{len(left)} writes under way at the kill, the last ended after {(last_end - killed) / 1e6:.0f} ms;",
      ", ".join(f"the successor's first {name} {(first[key] - last_end) / 1e6:+.1f} ms" for key, name in (("begin", "write"), ("read", "read")) if first[key]))
assert last_end > dead, "nothing was left to land"
for key, ns in first.items():
    assert ns is None or ns > last_end, f"{key} {(last_end - ns) / 1e6:.1f} ms before the last old write ended"
assert first["begin"] and wait_for(lambda: is_served(server)), "nobody has taken over"
END2

exec 3>&1
lands_before() { # server|PIDFILE held|free
    for _ in $(seq 200); do
        "$drover" status --json "$mnt" 2>/dev/null | tr -d ' \n' | grep -q '"standby":{[^}]*"pid":[1-9]' && break
        sleep 0.05
    done
    timeout 60 python3 "$work/kill.py" "$drover" "$mnt" "$work/events" "$disk_pid" "$@" >"$work/kill.out" 2>&1
    rc=$?
    remember_pids
    cat "$work/kill.out"
    sed -n 's/^[0-9]* writes under way/# &/p' "$work/kill.out" >&3
    return "$rc"
}

start_load() { # name
    rm -f "$work/stop"
    mkdir "$mnt/$1"
    python3 "$work/load.py" "$mnt/$1" "$work/stop" >"$work/load.out" 2>&1 &
    load=$!
}
ends_well() {
    touch "$work/stop"
    wait "$load"
    rc=$?
    cat "$work/load.out"
    return "$rc"
}

start_managed() { # name=value: by a manager that starts the next guardian
    rm -f "$work/ready"
    env "$1" python3 "$manager" "$work/main" "$work/ready" "$build/src/guardian/drover-guardian" -f -- "$loop" "$mnt" >"$work/manager.out" 2>&1 &
    manager_pid=$!
    for _ in $(seq 200); do
        [ -s "$work/ready" ] && mountpoint -q "$mnt" && break
        sleep 0.05
    done
    remember_pids
}

ok "a slow disk" start_disk 100
ok "a mount on it" "$drover" mount "$loop" "$mnt"
remember_pids
start_load one
for round in 1 2; do
    ok "a server is killed, its writes held: nobody writes before they have landed ($round)" lands_before server held
    ok "a server is killed: nobody writes before its writes have landed ($round)" lands_before server free
done
ok "programs have noticed nothing" ends_well
ok "unmounts" rig_umount
ok "e2fsck finds nothing to mend" fsck_clean

for mode in 0 1; do
    rest=$([ "$mode" = 0 ] && echo "all its servers with it" || echo "its server lives on")
    start_managed KEEP_REST=$mode
    start_load "managed$mode"
    ok "a guardian is killed ($rest), the writes held: the next one's server waits for them" lands_before "$work/main" held
    ok "a guardian is killed ($rest): the next one's server waits for the writes under way" lands_before "$work/main" free
    ok "programs have noticed nothing ($rest)" ends_well
    ok "unmounts ($rest)" rig_umount
    ok "the manager is left with nothing ($rest)" wait "$manager_pid"
    ok "e2fsck finds nothing to mend ($rest)" fsck_clean
done
rig_done
