#!/bin/sh
# SPDX-License-Identifier: MIT
# demo.sh BUILD - shows what drover does: a small volume, real programs on it, its server killed in
# between, and what e2fsck and the kernel's own ext4 say about the same image afterwards.
#
# A line gets its mark when the check that it names has passed, not when a program has merely run.
# Nothing outside a temporary directory is written, and that is gone at the end, however it comes.
# shellcheck disable=SC2317,SC2015  # functions are called by name; A && B || C is meant as it stands
set -u
export LC_ALL=C

build=$(cd "${1:?usage: demo.sh BUILD}" && pwd -P) || exit 1
top=$(cd "$(dirname "$0")/.." && pwd)
drover=$build/src/cli/drover

cannot() {
    echo "demo: $1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || cannot "needs root, to mount (sudo make demo)"
[ -c /dev/fuse ] || cannot "needs /dev/fuse (modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
[ -x "$drover" ] || cannot "$drover is not built (make all)"

work=$(mktemp -d "${TMPDIR:-/tmp}/drover-demo-XXXXXX") || exit 1
mnt=$work/mnt
kernel=$work/kernel
img=$work/disk.img
facts=$work/facts
pids=
failures=0
mkdir "$mnt" "$kernel" "$work/run"
# The mount's socket and log, too, are ours; but the name of a socket must be short.
[ ${#work} -gt 30 ] || export DROVER_RUN_DIR="$work/run"

leave() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    cd /
    exec 9>&-
    mountpoint -q "$kernel" && umount "$kernel"
    mountpoint -q "$mnt" && { "$drover" umount "$mnt" || umount -l "$mnt"; } >/dev/null 2>&1
    # Ours alone: a process id may be somebody else's by now.
    for pid in $pids; do
        case $(readlink "/proc/$pid/exe") in "$build"/*) kill -9 "$pid" ;; esac
    done 2>/dev/null
    rm -rf "$work"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

uptime_ms() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }

# show NAME FUNCTION: the function does one thing and checks it; it says what it found with `fact`.
show() {
    : >"$facts"
    started=$(uptime_ms)
    if "$2" >"$work/out" 2>&1; then
        mark=✓
    else
        mark=✗
        failures=$((failures + 1))
        [ -s "$facts" ] || echo "failed" >"$facts"
    fi
    took=$(($(uptime_ms) - started))
    printf ' %s %-8s %s (%d.%d s)\n' "$mark" "$1" "$(cat "$facts")" $((took / 1000)) $((took % 1000 / 100))
    [ $mark = ✓ ] || tail -n 15 "$work/out" | sed 's/^/     | /'
    [ $mark = ✓ ]
}
not_shown() { printf ' - %-8s not shown: %s\n' "$1" "$2"; }
fact() { echo "$*" >"$facts"; }
have() { command -v "$1" >/dev/null; }

status_pid() { # server|guardian
    "$drover" status --json "$mnt" | tr -d ' \n' | sed -n "s/.*\"$1\":{[^}]*\"pid\":\\([0-9]*\\).*/\\1/p"
}

make_volume() {
    "$drover" mkfs --size 1G "$img" && e2fsck -fn "$img" && fact "an ext4 volume of 1 GiB in a file; e2fsck accepts it"
}

mount_volume() {
    "$drover" mount "$img" "$mnt" && mountpoint -q "$mnt" || return 1
    server=$(status_pid server)
    guardian=$(status_pid guardian)
    pids="$server $guardian"
    fact "served by process $server, watched by its guardian, process $guardian"
}

# The source is copied aside first: whoever edits it meanwhile does not make the comparison fail.
copy_tree() {
    mkdir "$work/tree" "$mnt/tree" && cp -a "$top/src" "$work/tree/src" && cp -a "$work/tree/src" /usr/include "$mnt/tree/" &&
        same_tree "$mnt/tree" && fact "$(find "$mnt/tree" -type f | wc -l) files of src/ and /usr/include, $(du -sm "$mnt/tree" | cut -f1) MiB; diff finds no difference"
}
same_tree() { diff -r --no-dereference "$work/tree/src" "$1/src" && diff -r --no-dereference /usr/include "$1/include"; }

sort_numbers() {
    seq 1 500000 | shuf >"$mnt/numbers" && sort -n -S 1M -T "$mnt" "$mnt/numbers" >"$mnt/sorted" && seq 1 500000 | cmp - "$mnt/sorted" &&
        fact "500000 shuffled numbers, temporary files on the volume; cmp: every one in its place"
}

tar_tree() {
    tar cf "$mnt/src.tar" -C "$work/tree" src && mkdir "$mnt/untar" && tar xf "$mnt/src.tar" -C "$mnt/untar" &&
        diff -r "$work/tree/src" "$mnt/untar/src" && tar df "$mnt/src.tar" -C "$mnt/untar" &&
        fact "packed and unpacked; diff and tar --compare: contents, modes and times are the same"
}

git_repository() {
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
    export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@localhost GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@localhost
    cp -r "$work/tree/src" "$mnt/repo" && git -C "$mnt/repo" init -q && git -C "$mnt/repo" add . && git -C "$mnt/repo" commit -qm one &&
        git -C "$mnt/repo" gc -q && git -C "$mnt/repo" fsck --full --strict && git clone -q "$mnt/repo" "$mnt/clone" &&
        diff -r --exclude=.git "$work/tree/src" "$mnt/clone" && [ -z "$(git -C "$mnt/repo" status --porcelain)" ] &&
        fact "$(git -C "$mnt/repo" ls-files | wc -l) files committed, packed, cloned; git fsck: clean, the clone is the same"
}

# Nothing has been synced: what the server had promised and the disk does not have yet must be there all the same, and a
# file that was open must stay open.
kill_server() {
    exec 9>"$mnt/open" || return 1
    echo before >&9
    old=$server
    kill -9 "$old" || return 1
    echo after >&9 && same_tree "$mnt/tree" && printf 'before\nafter\n' | cmp - "$mnt/open" || return 1
    exec 9>&-
    server=$(status_pid server)
    pids="$pids $server"
    [ -n "$server" ] && [ "$server" != "$old" ] || { echo "no new server"; return 1; }
    [ "$(status_pid guardian)" = "$guardian" ] || { echo "another guardian"; return 1; }
    pause=$("$drover" status --json "$mnt" | tr -d ' \n' | sed -n 's/.*"pause_ms":{[^}]*"max":\([0-9.]*\).*/\1/p')
    fact "process $old killed, $server serves on after ${pause%"${pause#*.?}"} ms; the open file goes on; nothing was synced, all is the same"
}

sqlite_base() {
    sqlite3 "$mnt/db" "pragma journal_mode=wal; create table t(i integer primary key, v text); create index v on t(v);
        with recursive c(n) as (select 1 union all select n+1 from c where n<20000) insert into t select n, hex(randomblob(40)) from c;
        update t set v=lower(v) where i%3=0; delete from t where i%7=0;" &&
        [ "$(sqlite3 "$mnt/db" 'pragma integrity_check; select count(*) from t;' | tr '\n' ' ')" = "ok 17143 " ] &&
        fact "20000 rows with write-ahead log, changed and deleted; integrity_check: ok, 17143 rows left"
}

leveldb_base() {
    mkdir "$mnt/leveldb" && "$build/bench/work" leveldb-load "$mnt/leveldb" && "$build/bench/work" leveldb-check "$mnt/leveldb" &&
        fact "100000 values put, the base reopened; every one of them read back right"
}

# Everything that can be said about a tree: names, types, modes, owners, links, sizes, times, contents.
describe() { # directory
    (cd "$1" && find . -printf '%p %y %m %U %G %n %s %T@ %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

unmount_volume() {
    same_tree "$mnt/tree" && describe "$mnt" >"$work/described" || return 1
    "$drover" umount "$mnt" || return 1
    # It answers when the disk is free; the process itself takes a moment longer.
    for pid in $server $guardian; do
        timeout 5 tail --pid="$pid" -s 0.05 -f /dev/null || { echo "process $pid is still there"; return 1; }
    done
    ! mountpoint -q "$mnt" && fact "the copied tree is still the same; server and guardian are gone"
}

check_volume() {
    e2fsck -fn "$img" && fact "e2fsck -fn: $(tail -n 1 "$work/out" | sed 's/.*: //'), nothing to mend"
}

ask_kernel() {
    mount -t ext4 -o loop,ro "$img" "$kernel" || return 1
    describe "$kernel" >"$work/by-kernel" && cmp "$work/described" "$work/by-kernel" && same_tree "$kernel/tree" || return 1
    umount "$kernel" && fact "its ext4 mounts the image; all $(grep -c '^[0-9a-f]\{64\}  ' "$work/described") files the same byte for byte, with names, owners, modes, times"
}

# --- SQLite, whose server dies hundreds of times ---------------------------------------------------------

deaths=${DEMO_KILLS:-300}

# Transactions without end, as text: what they must come to is found out on another filesystem, without kills.
transactions() {
    awk 'BEGIN {
        print "create table t(i integer primary key, v text, n integer); create index v on t(v);"
        for (i = 1; i < 10000000; i++) {
            printf "begin; insert into t values(%d, %s, 0); update t set n = n + 1 where i = %d;", i, "printf(\047%08d some text\047, " i * 7919 % 10007 ")", i * 31 % i + 1
            if (i % 5 == 0) printf " delete from t where i = %d;", i - 3
            print " commit;"
            if (i % 20 == 0) { fflush(); if (system("test -e '"$work/stop"'") == 0) exit }
        }
    }'
}

run_sqlite() { # journal mode
    { echo "pragma journal_mode=$1; pragma synchronous=full;"; transactions | tee "$work/$1.sql"; } |
        sqlite3 -bail "$mnt/$1.db" >"$work/$1.out" 2>"$work/$1.err"
    echo $? >"$work/$1.exit"
}

# The longest wait of somebody who asks the server for something all the time, for each death.
kill_again_and_again() {
    mkfifo "$work/ask" "$work/answer" || return 1
    : >"$mnt/probed"
    "$build/bench/probe" watch "$mnt/probed" <"$work/ask" >"$work/answer" &
    prober=$!
    exec 7>"$work/ask" 8<"$work/answer"
    killed=0
    while [ $killed -lt "$deaths" ] && [ ! -e "$work/delete.exit" ] && [ ! -e "$work/wal.exit" ]; do
        echo reset >&7 && read -r _ <&8 && "$drover" inject "$mnt" crash || break
        sleep 0.1
        killed=$((killed + 1))
        echo gap >&7 && read -r ms _ <&8 || break
        echo "$ms" >>"$work/pauses"
        [ ! -t 2 ] || printf '\r   %d of %d deaths ' $killed "$deaths" >&2
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
    exec 7>&- 8<&-
    wait $prober
    echo $killed >"$work/killed"
}

# Both write at once, one with a rollback journal, one with a write-ahead log, each flushed at every commit.
sqlite_and_deaths() {
    run_sqlite delete &
    one=$!
    run_sqlite wal &
    other=$!
    sleep 0.5
    kill_again_and_again
    touch "$work/stop"
    wait $one $other
    for mode in delete wal; do
        [ "$(cat "$work/$mode.exit")" = 0 ] && [ ! -s "$work/$mode.err" ] || { cat "$work/$mode.err"; return 1; }
        [ "$(sqlite3 "$mnt/$mode.db" 'pragma integrity_check')" = ok ] || return 1
        sqlite3 "$work/$mode.db" 'pragma synchronous=off; pragma journal_mode=memory;' ".read $work/$mode.sql" >/dev/null && sqlite3 "$work/$mode.db" .dump >"$work/$mode.right" &&
            sqlite3 "$mnt/$mode.db" .dump | cmp - "$work/$mode.right" || return 1
    done
    [ "$(cat "$work/killed")" -ge "$deaths" ] || return 1
    fact "$(grep -h 'commit;' "$work/delete.sql" "$work/wal.sql" | wc -l) transactions through $(cat "$work/killed") deaths of the server; SQLite noticed: nothing (no error, integrity_check: ok, both bases the same as without a death)"
}

pauses_table() {
    sort -n "$work/pauses" >"$work/sorted"
    awk '{ p[NR] = $1 } END {
        printf "   pauses in ms:     %-9s %-9s %-9s %-9s %s\n", "deaths", "median", "90 %", "99 %", "longest"
        printf "   of a program      %-9d %-9.1f %-9.1f %-9.1f %.1f\n", NR, p[int((NR + 1) / 2)], p[int(NR * 0.9 + 0.5)], p[int(NR * 0.99 + 0.5)], p[NR] }' "$work/sorted"
    "$drover" status --json "$mnt" | tr -d ' \n' |
        sed -n 's/.*"recoveries":{.*"count":\([0-9]*\).*"p50":\([0-9.]*\),"p99":\([0-9.]*\),"max":\([0-9.]*\).*/\1 \2 \3 \4/p' |
        awk '{ printf "   by drover status  %-9d %-9.1f %-9s %-9.1f %.1f\n", $1, $2, "", $3, $4 }'
}

echo "drover on Linux $(uname -r), a volume in $work"
show mkfs make_volume || exit 1
show mount mount_volume || exit 1
show copy copy_tree || exit 1
show sort sort_numbers
show tar tar_tree
if have git; then show git git_repository; else not_shown git "git is not installed"; fi
show kill-9 kill_server
if have sqlite3; then show sqlite sqlite_base; else not_shown sqlite "sqlite3 is not installed"; fi
if [ -x "$build/bench/work" ]; then show leveldb leveldb_base; else not_shown leveldb "bench/work is not built (libleveldb-dev)"; fi
show umount unmount_volume || exit 1
show e2fsck check_volume
if [ ! -c /dev/loop-control ]; then
    not_shown kernel "there are no loop devices here"
elif ! grep -qw ext4 /proc/filesystems && ! modprobe -q ext4 2>/dev/null; then
    not_shown kernel "this kernel has no ext4"
else
    show kernel ask_kernel
fi

if ! have sqlite3 || [ ! -x "$build/bench/probe" ]; then
    not_shown deaths "sqlite3 is not installed, or bench/probe not built"
else
    rm -f "$img"
    show mkfs make_volume && show mount mount_volume || exit 1
    show deaths sqlite_and_deaths
    [ ! -s "$work/pauses" ] || pauses_table
    server=$(status_pid server)
    pids="$pids $server"
    unmount_again() { "$drover" umount "$mnt" && ! mountpoint -q "$mnt" && fact "server and guardian are gone"; }
    show umount unmount_again && show e2fsck check_volume
fi

[ "$failures" = 0 ] && echo "all of it came out right" && exit 0
echo "$failures of these went wrong"
exit 1
