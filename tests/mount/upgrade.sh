#!/bin/sh
# SPDX-License-Identifier: MIT
# upgrade.sh BUILD - drover upgrade hands over to the program on disk, or refuses and leaves all as it was.
. "$(dirname "$0")/lib.sh"

# An installation of our own, whose server can be replaced.
tree=$work/tree
mkdir -p "$tree/cli" "$tree/guardian" "$tree/server"
cp "$build/src/cli/drover" "$tree/cli/"
cp "$build/src/guardian/drover-guardian" "$tree/guardian/"
cp "$build/src/server/drover-server" "$tree/server/"
drover=$tree/cli/drover

wait_standby() {
    for _ in $(seq 100); do
        [ "$(field standby.pid)" != 0 ] && return 0
        sleep 0.05
    done
    return 1
}

install_new() { # a program: under the server's name, as a package manager does it
    cp "$1" "$tree/server/new" && chmod +x "$tree/server/new" && mv "$tree/server/new" "$tree/server/drover-server"
}

runs_new() { [ "/proc/$(field server.pid)/exe" -ef "$tree/server/drover-server" ]; }
runs_old() { [ "$(field server.pid)" = "$old" ] && [ "$(field standby.pid)" = "$old_standby" ]; }

# Keeps a file open, unlinked and half written, over everything that happens.
cat >"$work/hold.py" <<'END'
import os, sys, time
path, stop = sys.argv[1:]
f = open(path, "w+b", buffering=0)
os.unlink(path)
n = 0
while not os.path.exists(stop):
    f.write(b"%08d" % n)
    n += 1
    time.sleep(0.001)
f.seek(0)
assert f.read() == b"".join(b"%08d" % i for i in range(n)), "content"
assert os.fstat(f.fileno()).st_nlink == 0
END

rig_start 128M
python3 "$work/hold.py" "$mnt/held" "$work/stop" &
holder=$!
ok "a standby becomes ready" wait_standby

install_new "$build/src/server/drover-server"
ok "the server that runs is not the installed one" sh -c "! [ /proc/$(field server.pid)/exe -ef $tree/server/drover-server ]"
ok "drover upgrade succeeds" "$drover" upgrade "$mnt"
ok "the installed one runs" runs_new
ok "it has a standby" wait_standby
ok "it is upgraded again" "$drover" upgrade "$mnt"
wait_standby
old=$(field server.pid)
old_standby=$(field standby.pid)

# A program whose handoff has another layout.
cat >"$work/other" <<END
#!/usr/bin/python3
import os, struct, sys
os.pwrite(int(sys.argv[2]), struct.pack("I", 99), 8)
os.execv("$build/src/server/drover-server", ["drover-server"] + sys.argv[1:])
END
install_new "$work/other"
not_ok "a program of another layout is refused" "$drover" upgrade "$mnt"
cp "$work/out" "$work/why"
ok "the reason is said" grep "handoff layout .*the old program goes on" "$work/why"
ok "old server and old standby stay" runs_old

printf '#!/bin/sh\nexit 3\n' >"$work/broken"
install_new "$work/broken"
not_ok "a program that dies is refused" "$drover" upgrade "$mnt"
ok "old server and old standby stay then, too" runs_old
kill -9 "$old" "$old_standby"
ok "what is installed meanwhile is not what comes after a crash" ls "$mnt"
wait_standby
not_ok "an upgrade of what is no mount fails" "$drover" upgrade "$work"

install_new "$build/src/server/drover-server"
ok "after all that an upgrade succeeds" "$drover" upgrade "$mnt"
touch "$work/stop"
ok "a program with an open unlinked file noticed nothing" wait "$holder"
rig_stop
rig_done
