#!/bin/sh
# SPDX-License-Identifier: MIT
# programs.sh BUILD - real programs on the mount, judged by themselves, e2fsck and the kernel.
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")/../.." && pwd)

same_trees() { diff -r "$1" "$2"; }

tar_round_trip() {
    tar cf "$mnt/src.tar" -C "$here" src tests && mkdir "$mnt/untar" && tar xf "$mnt/src.tar" -C "$mnt/untar" &&
        diff -r "$here/src" "$mnt/untar/src"
}

git_works() {
    export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
    cp -r "$here/src" "$mnt/repo" && cd "$mnt/repo" && git init -q . && git add . && git commit -qm one && git gc -q &&
        git fsck --full && [ -z "$(git status --porcelain)" ]
    rc=$?
    cd /
    return $rc
}

sort_works() {
    seq 1 300000 | shuf --random-source=/dev/zero >"$mnt/numbers" && sort -n -T "$mnt" -S 1M "$mnt/numbers" >"$mnt/sorted" &&
        seq 1 300000 | cmp - "$mnt/sorted"
}

sqlite_works() { # journal mode
    rm -f "$mnt/db" "$mnt/db-wal" "$mnt/db-shm" "$mnt/db-journal"
    sqlite3 "$mnt/db" "pragma journal_mode=$1; create table t(i integer primary key, v text);
        with recursive c(n) as (select 1 union all select n+1 from c where n<5000) insert into t select n, hex(randomblob(50)) from c;
        update t set v=upper(v) where i%3=0; delete from t where i%7=0;" >/dev/null &&
        [ "$(sqlite3 "$mnt/db" 'pragma integrity_check; select count(*) from t;' | tr '\n' ' ')" = "ok 4286 " ]
}

rig_start 1G
ok "a source tree is copied whole" cp -a "$here/src" "$mnt/copy"
ok "and is the same" same_trees "$here/src" "$mnt/copy"
ok "tar packs and unpacks" tar_round_trip
ok "git commits, packs and verifies" git_works
ok "sort sorts with temporary files" sort_works
ok "sqlite with a rollback journal" sqlite_works delete
ok "sqlite with a write-ahead log" sqlite_works wal
ok "unmounts" rig_umount
rig_mount
ok "after a remount the tree is the same" same_trees "$here/src" "$mnt/copy"
ok "files are removed" rm -rf "$mnt/copy" "$mnt/repo" "$mnt/untar"
rig_stop
rig_done
