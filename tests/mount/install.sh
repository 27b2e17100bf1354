#!/bin/sh
# SPDX-License-Identifier: MIT
# install.sh BUILD - what is installed is complete, runs from where it stands, and mount(8), umount(8)
# and fstab find it. In a mount namespace of its own, with an overlay for /sbin: the system is not touched.
if [ -z "$DROVER_TEST_APART" ] && unshare -m true 2>/dev/null; then
    DROVER_TEST_APART=1 exec unshare -m sh "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"

root=$work/root
option() { meson introspect --buildoptions "$build" | python3 -c 'import json,sys; print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == sys.argv[1]))' "$1"; }
prefix=$(option prefix)
helpers=$(option helperdir)
names="mount.drover mount.fuse.drover mount.fuseblk.drover umount.drover umount.fuse.drover umount.fuseblk.drover"
installed=$root$prefix/bin/drover

install_it() { DESTDIR=$root meson install -C "$build" --no-rebuild; }
all_there() {
    for file in bin/drover libexec/drover/drover-guardian libexec/drover/drover-server share/man/man1/drover.1 \
                share/man/man8/mount.drover.8 share/bash-completion/completions/drover \
                lib/systemd/system/drover@.service; do
        [ -s "$root$prefix/$file" ] || { echo "$prefix/$file is missing"; return 1; }
    done
    for name in $names; do
        [ "$(readlink "$root$helpers/$name")" = "$prefix/bin/drover" ] || { echo "$helpers/$name is not drover"; return 1; }
    done
}
# Programs and links that nobody has listed above would be tests or tools that slipped in.
nothing_else() { [ "$(find "$root" ! -type d | wc -l)" = 13 ] || { find "$root" ! -type d; return 1; }; }
completes() {
    bash -c '. "$1"; COMP_WORDS=(drover um); COMP_CWORD=1; _drover; [ "${COMPREPLY[*]}" = umount ]' bash "$root$prefix/share/bash-completion/completions/drover"
}
server_runs_from() { # mount point
    pid=$("$installed" status --json "$1" | tr -d ' \n' | sed -n 's/.*"server":{[^}]*"pid":\([0-9]*\).*/\1/p')
    [ "$(readlink "/proc/$pid/exe")" = "$root$prefix/libexec/drover/drover-server" ]
}
# umount(8) has returned: the disk is free at once, and clean.
free_and_clean() { flock -n "$img" true && e2fsck -fn "$img" && ! mountpoint -q "$mnt"; }
refuses() {
    mount -t drover "$work/nothing" "$mnt" 2>"$work/said"
    [ $? = 32 ] && cat "$work/said" && [ "$(wc -l <"$work/said")" = 1 ] && grep -q "$work/nothing" "$work/said"
}

ok "everything is installed below DESTDIR" install_it
ok "programs, helpers, manual pages, completion" all_there
ok "and nothing else" nothing_else
ok "the completion knows the commands" completes
"$installed" mkfs --size 64M "$img" >/dev/null 2>&1
ok "the installed drover mounts" "$installed" mount "$img" "$mnt"
ok "with the installed server" server_runs_from "$mnt"
ok "and unmounts" "$installed" umount "$mnt"

# What the installed links would be, seen by this test alone.
mkdir "$work/upper" "$work/overlay"
for name in $names; do
    ln -s "$installed" "$work/upper/$name"
done
sbin=$(readlink -f /sbin)
if [ -z "$DROVER_TEST_APART" ] || ! mount -t overlay overlay -o "lowerdir=$sbin,upperdir=$work/upper,workdir=$work/overlay" "$sbin" 2>/dev/null; then
    tap ok "mount -t drover # SKIP needs a mount namespace and overlayfs, to leave /sbin alone"
    rig_done
fi
ok "mount -t drover" mount -t drover "$img" "$mnt"
remember_pids
ok "it is of type fuse.drover, from that disk" test "$(findmnt -n -o FSTYPE,SOURCE "$mnt" | tr -s ' ')" = "fuse.drover $img"
ok "a file is written" sh -c "head -c 20000000 /dev/urandom >$mnt/file && sha256sum $mnt/file >$work/sum"
ok "umount" umount "$mnt"
ok "returns when the disk is free and clean" free_and_clean

echo "$img $mnt drover defaults,noatime,nofail,cache=64M 0 0" >"$work/fstab"
ok "a line of fstab" mount -T "$work/fstab" "$mnt"
remember_pids
ok "its options hold" sh -c "findmnt -n -o OPTIONS $mnt && findmnt -n -o OPTIONS $mnt | grep -q noatime"
ok "the file is there" sha256sum --quiet -c "$work/sum"
ok "umount, by disk" umount "$img"
ok "returns when that is free and clean" free_and_clean

ok "mount -r" mount -r -t drover "$img" "$mnt"
remember_pids
not_ok "is read-only" touch "$mnt/x"
ok "umount -t drover" umount "$mnt"
ok "leaves it as it was" free_and_clean
ok "a disk that is not there: status 32 and one line" refuses
umount "$sbin"
rig_done
