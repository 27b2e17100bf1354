# SPDX-License-Identifier: MIT
# lib.sh - for tests through a real mount: sourced by them, speaks TAP, cleans up whatever happens.
#
#   . "$(dirname "$0")/lib.sh" "$@"      first argument of a test: the build directory
#   rig_start 256M                       a volume, mounted at $mnt
#   ok "what it proves" command...       one TAP line
#   rig_stop                             unmounts, asks e2fsck (and the kernel, where it can)

build=$(cd "$1" && pwd)
drover=$build/src/cli/drover
work=
mnt=
img=
taps=0
failures=0

skip_all() {
    echo "ok 1 - $(basename "$0") # SKIP $1"
    exit 0
}

[ "$(id -u)" = 0 ] || skip_all "needs root"
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"

# Nothing may stay behind: no mount, no process, no file; also when a test is ended by TERM.
rig_cleanup() {
    status=$?
    trap - EXIT
    if [ -n "$work" ]; then
        cd /
        for dir in "$work"/mnt* "$work"/kernel; do
            mountpoint -q "$dir" 2>/dev/null && { umount "$dir" 2>/dev/null || umount -l "$dir"; }
        done
        # Ours alone: the id of a process that has ended may be somebody else's by now.
        for pid in $(cat "$work"/*.pid 2>/dev/null); do
            case $(readlink "/proc/$pid/exe") in */drover-*) kill -9 "$pid" 2>/dev/null ;; esac
        done
        rm -rf "$work"
    fi
    exit "$status"
}
trap rig_cleanup EXIT
trap 'exit 143' TERM INT

work=$(mktemp -d "${TMPDIR:-/tmp}/drover-test-XXXXXX")
mnt=$work/mnt
img=$work/disk.img
mkdir "$mnt" "$work/kernel" "$work/run"
# Sockets and logs of mounts are not to stay behind either; but the name of a socket must be short.
[ ${#work} -gt 30 ] || export DROVER_RUN_DIR="$work/run"

tap() { # ok|"not ok" text
    taps=$((taps + 1))
    [ "$1" = ok ] || failures=$((failures + 1))
    echo "$1 $taps - $2"
}

ok() { # text command...: passes when the command succeeds
    text=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        tap ok "$text"
    else
        sed 's/^/# /' "$work/out" | tail -n 25
        tap "not ok" "$text"
    fi
}

not_ok() { # text command...: passes when the command fails
    text=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        tap "not ok" "$text"
    else
        tap ok "$text"
    fi
}

field() { # path, as recoveries.poisoned: a value of the status
    "$drover" status --json "$mnt" 2>/dev/null | python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[key]
print(value)' "$1" 2>/dev/null
}

remember_pids() {
    "$drover" status --json "$mnt" 2>/dev/null |
        tr ',{}' '\n\n\n' | sed -n 's/.*"pid": *\([1-9][0-9]*\).*/\1/p' >"$work/$$.pid"
}

rig_start() { # size [mount options]
    "$drover" mkfs --size "$1" "$img" >"$work/mkfs.out" 2>&1 || { cat "$work/mkfs.out"; tap "not ok" "drover mkfs"; exit 1; }
    rig_mount "${2:-}"
}

rig_mount() { # [mount options]
    if ! "$drover" mount ${1:+-o "$1"} "$img" "$mnt" >"$work/mount.out" 2>&1; then
        sed 's/^/# /' "$work/mount.out"
        tap "not ok" "drover mount"
        exit 1
    fi
    remember_pids
}

rig_umount() {
    "$drover" umount "$mnt" >"$work/umount.out" 2>&1 || { sed 's/^/# /' "$work/umount.out"; return 1; }
    rm -f "$work"/*.pid
}

fsck_clean() {
    e2fsck -fn "$img"
}

# The kernel's own ext4 mounts the image read-only and reads every byte of it.
kernel_reads_all() {
    mount -o loop,ro "$img" "$work/kernel" || return 1
    find "$work/kernel" -type f -exec cat {} + >/dev/null
    rc=$?
    umount "$work/kernel"
    return "$rc"
}

rig_stop() {
    ok "unmounts" rig_umount
    ok "e2fsck finds nothing to mend" fsck_clean
    if [ -c /dev/loop-control ]; then
        ok "the kernel's ext4 reads all of it" kernel_reads_all
    fi
}

rig_done() {
    [ "$failures" = 0 ]
    exit $?
}
