#!/bin/sh
# SPDX-License-Identifier: MIT
# make-volumes.sh DIR - small populated volumes for volume_fuzz: DIR/0.img, DIR/1.img, ...
#
# All by e2fsprogs, with fixed times, UUID and hash seed: a seed of volume_fuzz must find the same bytes
# on every machine and day. volume_image.c adds what debugfs cannot make (a second level of a hash tree).
set -eu
out=$1
PATH=$PATH:/sbin:/usr/sbin
export E2FSPROGS_FAKE_TIME=1500000000 E2FSCK_TIME=1500000000 TZ=UTC0
uuid=01234567-89ab-cdef-0123-456789abcdef
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"

ask() {
    debugfs -R "$*" "$image" 2>/dev/null
}
run() {     # commands of debugfs on standard input
    { echo "set_current_time 20170714024000"; cat; } > "$work/commands"
    debugfs -w -f "$work/commands" "$image" > "$work/log" 2>&1
}
repair() {
    e2fsck "$@" "$image" >/dev/null 2>&1 || test $? -le 1
}
inode_of() {
    ask stat "$1" | sed -n 's/^Inode: \([0-9]*\).*/\1/p'
}

# What goes in: a dense file, one with a block at each height of a block map, attributes.
head -c 1228800 /dev/zero | tr '\000' d > "$work/dense"
head -c 4096 /dev/zero | tr '\000' s > "$work/one"
for lblock in 0 12 20 1040 1050 2100; do
    dd if="$work/one" of="$work/sparse" bs=4096 seek="$lblock" conv=notrunc status=none
done
cp --sparse=always "$work/sparse" "$work/huge"
dd if="$work/one" of="$work/huge" bs=4096 seek=1049700 conv=notrunc status=none
head -c 1500 /dev/zero | tr '\000' v > "$work/value"
printf '\002\000\000\000\001\000\007\000\377\377\377\377\002\000\006\000\350\003\000\000\004\000\005\000\377\377\377\377\020\000\006\000\377\377\377\377\040\000\001\000\377\377\377\377' > "$work/acl"
long=$(printf 'x%.0s' $(seq 150))

tree() {    # HOLES: so many holes in the dense file
    echo "write $work/dense dense"
    echo "write $work/dense holes"
    seq 1 2 "$1" | awk '{print "punch holes", $1, $1}'
    echo "write $work/sparse sparse"
    echo "write $work/huge huge"
    echo "write $work/one one"
    echo "mkdir d"; echo "mkdir d/e"; echo "mkdir d/e/f"; echo "write $work/one d/e/f/deep"
    echo "symlink short target"
    echo "symlink long /$long/$long"
    echo "mknod pipe p"; echo "mknod chr c 5 1"; echo "mknod blk b 30 70"
    echo "mkdir big"; echo "mkdir mid"
    for _ in $(seq 24); do echo "expand_dir big"; done
    for _ in $(seq 6); do echo "expand_dir mid"; done
    seq -f "ln one big/name-%05.0f-$long" 400
    seq -f "ln one mid/name-%05.0f-$long" 90
    echo "write $work/dense orphan"; echo "write $work/sparse shrinking"; echo "mkdir lostdir"
    seq 1 2 41 | awk '{print "punch orphan", $1, $1}'
}
attributes() {
    echo "ea_set one user.small 123"
    echo "ea_set one security.selinux system_u:object_r:t:s0"
    echo "ea_set -f $work/value one user.large"
    echo "ea_set -f $work/value sparse user.large"
    echo "ea_set -f $work/acl one system.posix_acl_access"
    echo "ea_set -f $work/acl d system.posix_acl_default"
    echo "ea_set long trusted.t x"
}
orphans() {         # two without a name, one to be truncated, on the list of the superblock
    set -- "$(inode_of orphan)" "$(inode_of lostdir)" "$(inode_of shrinking)"
    echo "unlink orphan"; echo "unlink lostdir"
    echo "sif <$1> links_count 0"; echo "sif <$2> links_count 0"
    echo "sif <$1> dtime $2"; echo "sif <$2> dtime $3"; echo "sif <$3> dtime 0"
    echo "sif <$3> size 50000"
    echo "ssv last_orphan $1"
}
journal() {         # OPTIONS: transactions that bring blocks of the volume as they are, and a revoke
    root=$(ask bmap / 0) big=$(ask bmap big 0) table=$(ask imap '<12>' | sed -n 's/.*located at block \([0-9]*\),.*/\1/p')
    for block in 1 "$root" "$big" "$table"; do
        dd if="$image" bs=4096 skip="$block" count=1 status=none
    done > "$work/blocks"
    dd if="$image" bs=4096 skip="$table" count=1 status=none > "$work/table"
    printf 'jo %s\njw -b 1,%s,%s,%s %s\n' "$1" "$root" "$big" "$table" "$work/blocks"
    printf 'jw -r %s,600\njw -b %s %s\njc\n' "$big" "$table" "$work/table"
}

number=0
make() {            # SIZE HOLES JOURNAL MKE2FS-OPTIONS
    size=$1 holes=$2 log=$3
    shift 3
    image=$out/$number.img
    number=$((number + 1))
    truncate -s "$size" "$image"
    mke2fs -q -F -t ext4 -b 4096 -N 256 -J size=4 -U $uuid -E hash_seed=$uuid "$@" "$image" >/dev/null
    tree "$holes" | run
    repair -fyD
    attributes | run
    repair -fy
    # Room for the nodes that volume_image.c adds; e2fsck would take it back.
    printf 'expand_dir big\nexpand_dir big\n' | run
    case $log in *orphans*) orphans | run ;; esac
    case $log in *journal*) journal "${log#*journal}" | run ;; esac
}

make 20M 290 none -O metadata_csum,64bit
make 20M 290 orphans -O ^metadata_csum,^64bit,uninit_bg
make 24M 290 "orphans journal" -O ^metadata_csum,64bit,^uninit_bg -g 2048
make 20M 20 "journal" -O ^extent,^64bit,^flex_bg,^metadata_csum,^uninit_bg,^huge_file
make 24M 290 "orphans journal-c -v 3" -O metadata_csum,64bit,orphan_file,metadata_csum_seed -I 512 -g 2048
make 20M 20 orphans -O ^dir_index,^metadata_csum,^uninit_bg,^filetype,^resize_inode -I 128
make 24M 290 "journal" -O metadata_csum,64bit,meta_bg,^resize_inode -g 1024
make 20M 290 "none" -O ^metadata_csum,^uninit_bg,64bit -I 256
