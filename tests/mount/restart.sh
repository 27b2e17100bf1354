#!/bin/sh
# SPDX-License-Identifier: MIT
# restart.sh BUILD - the mount survives the death of its server; the next server serves it.
. "$(dirname "$0")/lib.sh"

server_pid() { "$drover" status --json "$mnt" | tr -d ' \n' | sed -n 's/.*"server":{[^}]*"pid":\([0-9]*\).*/\1/p'; }
kill_server() { kill -9 "$(server_pid)"; }
guardian_pid() { "$drover" status --json "$mnt" | tr -d ' \n' | sed -n 's/.*"guardian":{[^}]*"pid":\([0-9]*\).*/\1/p'; }
kept() { [ "$(cat "$mnt/kept")" = kept ]; }
can_write() { echo more >"$mnt/more" && [ "$(cat "$mnt/more")" = more ]; }
new_server() { new=$(server_pid); [ -n "$new" ] && [ "$new" != "$old" ]; }

rig_start 128M
ok "a file is written and synced" sh -c "echo kept >$mnt/kept && sync -f $mnt/kept && python3 -c 'import os,sys; fd=os.open(sys.argv[1],os.O_RDONLY); os.fsync(fd)' $mnt/kept"
handle_works() { [ "$("$build/tests/posix/handle" read "$mnt" "$work/handle")" = kept ]; }
ok "a file handle is taken" "$build/tests/posix/handle" save "$mnt/kept" "$work/handle"
for round in 1 2 3; do
    old=$(server_pid)
    ok "the server is killed ($round)" kill_server
    ok "the synced file is there ($round)" kept
    ok "files can be written ($round)" can_write
    ok "it is another server ($round)" new_server
    ok "the file handle is still good ($round)" handle_works
done
inode=$(stat -c %i "$mnt/kept")
rig_umount || tap "not ok" "unmounts in between"
rig_mount
ok "inode numbers survive a remount" test "$(stat -c %i "$mnt/kept")" = "$inode"
ok "the file handle survives a remount" handle_works
not_ok "a second mount of the same image is refused" "$drover" mount "$img" "$work/kernel"
rig_stop
rig_done
