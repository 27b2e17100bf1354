#!/bin/sh
# SPDX-License-Identifier: MIT
# make-corpus.sh DIR - seeds for the fuzz targets: DIR/super, DIR/dir, ... from volumes of e2fsprogs.
set -eu
out=$1
PATH=$PATH:/sbin:/usr/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
for target in super group inode extent dir xattr acl jbd2; do
    mkdir -p "$out/$target"
done

block() {   # TARGET NAME BLOCK: one block of the volume
    dd if="$work/image" of="$out/$1/$2" bs=4096 skip="$3" count=1 status=none
}
ask() {
    debugfs -R "$*" "$work/image" 2>/dev/null
}
inode_bytes() { # NAME PATH SIZE
    where=$(ask imap "$2" | sed -n 's/.*located at block \([0-9]*\), offset \(0x[0-9a-f]*\).*/\1 \2/p')
    dd if="$work/image" of="$out/inode/$1" bs=1 skip=$((${where% *} * 4096 + ${where#* })) count="$3" status=none
}

# Names enough for a hash tree, a file of many extents, attributes in the inode and in a block.
mkdir -p "$work/tree/big"
(cd "$work/tree/big" && seq -f 'name-%040.0f' 400 | xargs touch)
ln -s target "$work/tree/link"
head -c 1500 /dev/zero | tr '\000' v > "$work/value"
head -c 4096 /dev/zero | tr '\000' x > "$work/tree/sparse"
for i in $(seq 3 2 60); do
    dd if="$work/value" of="$work/tree/sparse" bs=4096 seek="$i" conv=notrunc status=none
done

n=0
for options in "-O metadata_csum,64bit" "-O ^metadata_csum,^64bit -I 128" "-O ^metadata_csum,^uninit_bg,^flex_bg,64bit" "-O sparse_super2,metadata_csum -g 1024"; do
    n=$((n + 1))
    rm -f "$work/image"
    truncate -s 16M "$work/image"
    # shellcheck disable=SC2086
    mke2fs -q -F -t ext4 -b 4096 $options -d "$work/tree" "$work/image" >/dev/null 2>&1
    e2fsck -fyD "$work/image" >/dev/null 2>&1 || test $? -le 1
    {
        echo "ea_set sparse user.small 123"
        echo "ea_set sparse security.selinux system_u:object_r:t:s0"
        echo "ea_set -f $work/value sparse user.large"
        echo "ea_set link trusted.t x"
        echo "mknod pipe p"
        echo "mknod device b 8 1"
    } > "$work/commands"
    debugfs -w -f "$work/commands" "$work/image" >/dev/null 2>&1

    dd if="$work/image" of="$out/super/$n" bs=1024 skip=1 count=1 status=none
    block group "$n" 1
    size=256
    case $options in *"-I 128"*) size=128 ;; esac
    for path in / big link sparse pipe device "<7>" "<8>"; do
        inode_bytes "$n-$(echo "$path" | tr -d '/<>')" "$path" "$size"
    done
    block dir "$n-root" "$(ask bmap / 0)"
    for lblock in 0 1 2; do
        block dir "$n-big-$lblock" "$(ask bmap big "$lblock")"
    done
    block xattr "$n" "$(ask stat sparse | sed -n 's/.*File ACL: \([0-9]*\).*/\1/p')"
    block extent "$n" "$(ask stat sparse | sed -n 's/.*(ETB0):\([0-9]*\).*/\1/p' | head -n 1)"
done

# Nodes of a hash tree take more names than a small volume has: their limits are 510 and 511.
for limit in 376 377; do
    printf "\\0\\0\\0\\0\\0\\020\\0\\0\\$limit\\001\\003\\0\\001\\0\\0\\0\\0\\0\\0\\020\\002\\0\\0\\0\\0\\0\\0\\100\\003\\0\\0\\0" > "$out/dir/node-$limit"
done

# Extent roots and attribute areas are parts of inodes.
for inode in "$out"/inode/*; do
    name=$(basename "$inode")
    dd if="$inode" of="$out/extent/root-$name" bs=1 skip=40 count=60 status=none
    dd if="$inode" of="$out/xattr/body-$name" bs=1 skip=160 count=96 status=none
done

printf '\001\000\000\000\001\000\007\000\002\000\006\000\350\003\000\000\004\000\005\000\010\000\004\000\062\000\000\000\020\000\006\000\040\000\001\000' > "$out/acl/disk"
printf '\001\000\000\000\001\000\007\000\004\000\005\000\040\000\004\000' > "$out/acl/disk-minimal"
printf '\002\000\000\000\001\000\007\000\377\377\377\377\002\000\006\000\350\003\000\000\004\000\005\000\377\377\377\377\020\000\006\000\377\377\377\377\040\000\001\000\377\377\377\377' > "$out/acl/xattr"

# Journals of every checksum, with a transaction of three blocks and one of revokes.
for version in 0 2 3; do
    rm -f "$work/image"
    truncate -s 16M "$work/image"
    mke2fs -q -F -t ext4 -b 4096 -O metadata_csum,64bit "$work/image" >/dev/null 2>&1
    head -c 12288 "$work/tree/sparse" > "$work/payload"
    case $version in 0) open=jo ;; *) open="jo -c -v $version" ;; esac
    printf '%s\njw -b 500,501,502 %s\njw -r 600,601\njc\n' "$open" "$work/payload" > "$work/commands"
    debugfs -w -f "$work/commands" "$work/image" >/dev/null 2>&1
    for lblock in 0 1 2 5 6 7; do
        block jbd2 "$version-$lblock" "$(ask bmap '<8>' "$lblock")"
    done
done
