#!/bin/sh
# SPDX-License-Identifier: MIT
# programs.sh PROGRAM INPUT STEPS - one real program at work in the current directory.
#
# What it prints and leaves behind is the same every time; crash.py compares that with a run in which the server was
# killed. INPUT is a directory outside of the mount (`programs.sh make-input DIR` makes it); `programs.sh programs` names all.
set -u
export LC_ALL=C TZ=UTC
program=$1
input=${2:-}
steps=${3:-}

make_input() { # DIR
    mkdir -p "$1/tree/sub/deep" && cd "$1" || exit 1
    awk 'BEGIN { x = 7; for (i = 0; i < 9000; i++) { x = (x * 1103515245 + 12345) % 2147483648; print x " some words on line " i } }' >lines
    for i in 1 2 3 4 5 6; do
        head -c "$((i * 3100))" lines >"tree/file$i"
        tail -c "$((i * 700))" lines >"tree/sub/part$i"
    done
    head -c 150000 lines >tree/sub/deep/large
    : >tree/empty
    chmod 755 tree/file1
    chmod 600 tree/file2
    chmod 2750 tree/sub
    ln -s sub/deep/large tree/symbolic
    ln tree/file3 tree/sub/hard
    find tree -exec touch -h -d '2020-02-03 04:05:06.789' {} +
    (cd tree && { ! command -v zip >/dev/null || zip -q -y -X -r ../tree.zip .; } && tar --sort=name --owner=0 --group=0 -cf ../tree.tar .)
}

run_shell() {
    mkdir -p a/b/c && echo one >a/one && echo two >>a/one && ln a/one a/b/link && ln -s one a/symbolic
    mv a/one a/b/c/moved && echo three >>a/b/link && cat a/b/c/moved a/b/link
    [ "$(stat -c %i a/b/c/moved)" = "$(stat -c %i a/b/link)" ] && stat -c '%h %s %A' a/b/link
    t=$(mktemp t.XXXXXX) && echo temporary >"$t" && stat -c '%s %a' "$t" && mv "$t" kept
    exec 3<>open-file && echo unlinked >&3 && rm open-file && echo more >&3 && cat /proc/self/fd/3 && stat -L -c '%h %s' /proc/self/fd/3
    mkdir cwd && (cd cwd && rmdir ../cwd && ! echo x 2>/dev/null >file && ls -la . | wc -l && cd .. && pwd | sed 's/.*\///' | wc -l)
    truncate -s 10000 sparse && printf end >>sparse && truncate -s 5 a/b/link && cat a/b/link && echo
    (flock -n 9 && echo locked && (flock -n 8 && echo both) 8<lockfile; echo $? && mkdir x && rmdir x) 9>lockfile
    for i in 1 2 3 4 5; do echo "$i" >>log; done
    cat log && echo over >|log && mkfifo pipe && (echo through >pipe & cat pipe; wait)
    set -C && ! echo x 2>/dev/null >log && set +C && cat log
    dd if="$input/lines" of=dd bs=3000 count=3 seek=2 conv=notrunc 2>/dev/null && cksum dd && rm -r a/b && ls -R . && echo >&3 && exec 3>&-
    touch -d '2001-01-01' kept && stat -c %Y kept
}

run_git() {
    export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
    export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
    git -c init.defaultBranch=main init -q --template= . && cp "$input"/tree/file[1-4] . && git add . && git commit -qm one &&
        echo more >>file2 && git mv file1 moved && git commit -qam two && git -c gc.auto=0 gc -q && git fsck --full --strict 2>&1 &&
        git status --porcelain && git log --format='%H %s'
}

sql() { # journal mode
    sqlite3 base "pragma journal_mode=$1; pragma synchronous=full; pragma wal_autocheckpoint=20;
        create table t(i integer primary key, v text); create index v on t(v);
        with recursive c(n) as (select 1 union all select n+1 from c where n<400) insert into t select n, printf('%08d some text', n*7919 % 1000) from c;
        begin; update t set v = upper(v) where i % 3 = 0; delete from t where i % 7 = 0; commit;
        insert into t(v) values('one'); insert into t(v) values('two'); insert into t(v) values('three');
        begin; delete from t; rollback; update t set v = v || i where i > 350;" &&
        sqlite3 base "pragma integrity_check; select count(*), sum(length(v)), max(v), min(v), sum(i) from t;"
}

case $program in
programs) echo "calls append list mmap orphans locks shell sort cp unzip tar sqlite-rollback sqlite-wal git leveldb" ;;
make-input) make_input "$input" ;;
shell) run_shell 2>&1 ;;
sort) sort -n -S 64k --parallel=1 -T . "$input/lines" -o sorted && sort -nc sorted && cksum sorted ;;
cp) cp -a "$input/tree" copy && diff -r --no-dereference "$input/tree" copy && cp -r copy again && rm -r copy/sub && du -a again | cut -f2 | sort ;;
unzip) unzip -q "$input/tree.zip" && diff -r --no-dereference "$input/tree" . ;;
tar) tar xpf "$input/tree.tar" && tar df "$input/tree.tar" ;;
sqlite-rollback) sql delete ;;
sqlite-wal) sql wal ;;
git) run_git ;;
calls | append | list | mmap | orphans | locks | leveldb) "$steps" "$program" ;;
*) exit 2 ;;
esac
