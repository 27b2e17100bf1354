#!/bin/sh
# SPDX-License-Identifier: MIT
# storm.sh BUILD - servers die faster than they commit, in the middle of whatever they do, also of recovery and
# with both at once; four writers that know every answer see nothing of it, and what is left behind does not grow.
. "$(dirname "$0")/lib.sh"

# Every result is known; a step that was done twice, or not at all, fails at once.
cat >"$work/load.py" <<'END2'
import ctypes, os, sys, threading
top, stop = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
failed = []

def name_it(fd, path):                  # linkat(AT_SYMLINK_FOLLOW)
    if libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, path.encode(), 0x400) < 0:
        raise OSError(ctypes.get_errno(), "linkat")

def one_round(base, n):
    p = lambda name: f"{base}/{name}"
    fd = os.open(p("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
    for _ in range(3):
        os.write(fd, b"%08d" % n)
    ino = os.fstat(fd).st_ino
    os.close(fd)
    os.mkdir(p("d"))
    os.rename(p("f"), p("d/g"))
    os.link(p("d/g"), p("h"))
    os.symlink("t", p("s"))
    os.setxattr(p("h"), "user.a", b"1", os.XATTR_CREATE)
    os.removexattr(p("h"), "user.a")
    os.chmod(p("h"), 0o640)
    fd = os.open(p("h"), os.O_RDWR)
    os.unlink(p("d/g"))
    os.unlink(p("h"))
    st = os.fstat(fd)
    assert (st.st_nlink, st.st_ino, st.st_mode & 0o777) == (0, ino, 0o640), st
    os.ftruncate(fd, 10)
    assert os.pread(fd, 100, 0) == (b"%08d" % n * 3)[:10]
    os.close(fd)
    fd = os.open(base, os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"%04d" % (n % 10000) * 1250)
    name_it(fd, p("tm"))
    os.close(fd)
    assert open(p("tm"), "rb").read() == b"%04d" % (n % 10000) * 1250
    for path in ("tm", "s"):
        os.unlink(p(path))
    os.rmdir(p("d"))

def writer(k):
    base, n = f"{top}/w{k}", 0
    try:
        os.mkdir(base)
        kept = os.open(base + "/kept", os.O_CREAT | os.O_RDWR | os.O_APPEND)
        while not os.path.exists(stop):
            os.write(kept, b"%08d" % n)
            one_round(base, n)
            assert os.listdir(base) == ["kept"], os.listdir(base)
            n += 1
            if n % 5 == 0:
                os.fsync(kept)
        assert os.pread(kept, 8 * n + 1, 0) == b"".join(b"%08d" % i for i in range(n)), "kept"
        print(n, "rounds")
    except BaseException as why:
        failed.append(why)
        print(f"writer {k}, round {n}:", repr(why))

threads = [threading.Thread(target=writer, args=(k,)) for k in range(4)]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(bool(failed))
END2

# Kills for so many seconds, with pauses between 0 and so many; every fifth time the standby as well.
cat >"$work/storm.py" <<'END2'
import json, os, random, signal, subprocess, sys, time
drover, mnt, seconds, nap = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])

def status():
    try:
        return json.loads(subprocess.run([drover, "status", "--json", mnt], stdout=subprocess.PIPE, timeout=10, check=True).stdout)
    except (subprocess.SubprocessError, ValueError):
        return None

def kill(pid):
    try:
        if pid and "drover-server" in os.readlink(f"/proc/{pid}/exe"):
            os.kill(pid, signal.SIGKILL)
            return 1
    except OSError:
        pass
    return 0

random.seed(1)
until, kills = time.monotonic() + seconds, 0
while time.monotonic() < until:
    time.sleep(random.random() * nap)
    now = status()
    if not now:
        continue
    if random.random() < 0.2:
        kill(now["standby"]["pid"])
    kills += kill(now["server"]["pid"])
print(kills, "kills")
sys.exit(kills < seconds)               # too few for a storm
END2

exec 3>&1
storm() { # name, seconds, longest pause between two kills
    mkdir "$mnt/$1"
    rm -f "$work/stop"
    python3 "$work/load.py" "$mnt/$1" "$work/stop" >"$work/load.out" 2>&1 &
    load=$!
    python3 "$work/storm.py" "$drover" "$mnt" "$2" "$3" >"$work/storm.out" 2>&1
    stormed=$?
    touch "$work/stop"
    wait "$load"
    rc=$?
    cat "$work/load.out" "$work/storm.out"
    echo "# $(cat "$work/storm.out" | tail -n 1)" >&3
    return $((stormed + rc))
}

cat >"$work/look.py" <<'END2'
import json, subprocess, sys, time
drover, mnt, what = sys.argv[1:]
for _ in range(60):
    done = subprocess.run([drover, "status", "--json", mnt], stdout=subprocess.PIPE, timeout=10)
    now = json.loads(done.stdout) if done.returncode == 0 else {"server_answers": False}
    if now["server_answers"] and (what != "log" or now["plog"]["entries"] < 3000):
        break
    time.sleep(0.1)
past = now["recoveries"]
print(past["count"], "recoveries, pauses:", past["pause_ms"], "entries:", now["plog"]["entries"], "distrusted:", past["distrusted"], "poisoned:", past["poisoned"])
sys.exit(not {"log": now["plog"]["entries"] < 3000, "pauses": past["pause_ms"]["p50"] < 60,
              "trust": past["distrusted"] == past["poisoned"] == 0}[what])
END2
look() { python3 "$work/look.py" "$drover" "$mnt" "$1"; }
pauses_are_short() { look pauses >"$work/pauses"; rc=$?; sed 's/^/# /' "$work/pauses" >&3; return "$rc"; }

rig_start 128M
ok "programs in a storm notice nothing" storm calm 6 0.4
ok "pauses are short" pauses_are_short
ok "the log has not grown" look log
ok "and in a heavier one" storm heavy 5 0.12
ok "nor has the log grown in that one" look log
ok "nothing was distrusted, no request given up" look trust
rig_stop
rig_mount plog=1M,cache=16M
ok "programs in a storm notice nothing, with a small log that is full at times" storm small 5 0.4
rig_stop
rig_done
