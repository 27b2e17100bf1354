#!/bin/sh
# SPDX-License-Identifier: MIT
# refused.sh BUILD - what cannot be served is refused in one line that names it; what can is adopted.
. "$(dirname "$0")/lib.sh"

refused() { # mke2fs options, word
    rm -f "$img"
    truncate -s 64M "$img"
    # shellcheck disable=SC2086  # options are words
    mke2fs -q -F -t ext4 $1 "$img" >/dev/null 2>&1 || return 0
    if "$drover" mount "$img" "$mnt" >"$work/said" 2>&1; then
        umount "$mnt"
        echo "was mounted"
        return 1
    fi
    cat "$work/said"
    [ "$(wc -l <"$work/said")" = 1 ] && grep -q "^drover: " "$work/said" && grep -q -- "$2" "$work/said"
}

adopted() { # mke2fs options
    rm -f "$img"
    # shellcheck disable=SC2086
    mke2fs -q -F -t ext4 -b 4096 $1 -d "$work/seed" "$img" 128M >/dev/null 2>&1 || return 0
    "$drover" mount "$img" "$mnt" && diff -r "$work/seed" "$mnt/" -x lost+found && cp -r "$work/seed" "$mnt/again" &&
        rm -rf "$mnt/dir" && "$drover" umount "$mnt" && e2fsck -fn "$img"
}

read_only() {
    rm -f "$img"
    mke2fs -q -F -t ext4 -b 4096 -d "$work/seed" "$img" 64M >/dev/null 2>&1
    debugfs -w -R "feature FEATURE_R31" "$img" >/dev/null 2>&1
    "$drover" mount "$img" "$mnt" || return 1
    cat "$mnt/dir/file1" >/dev/null && ! touch "$mnt/x" 2>/dev/null
    rc=$?
    "$drover" umount "$mnt"
    return $rc
}

mkdir -p "$work/seed/dir/deep"
for i in $(seq 1 300); do echo "content $i" >"$work/seed/dir/file$i"; done
head -c 3000000 /dev/urandom >"$work/seed/dir/deep/large"
ln -s dir/deep "$work/seed/link"

for case in "-O_inline_data inline_data" "-O_encrypt encrypt" "-O_casefold casefold" "-O_bigalloc bigalloc" "-O_^has_journal has_journal" \
            "-O_ea_inode ea_inode" "-O_verity verity" "-b_1024 block" "-O_mmp mmp"; do
    options=$(echo "${case% *}" | tr '_' ' ' | sed 's/inline data/inline_data/; s/has journal/has_journal/; s/ea inode/ea_inode/')
    ok "refused: $options" refused "$options" "${case#* }"
done
ok "refused: not ext4 at all" sh -c "head -c 1000000 /dev/zero >$img.zero; ! $drover mount $img.zero $mnt 2>$work/said && [ \$(wc -l <$work/said) = 1 ]"
for options in "-O metadata_csum,64bit" "-O ^metadata_csum,uninit_bg,^64bit" "-O ^extent,^64bit,^flex_bg,^metadata_csum" "-O ^dir_index" "-I 128" \
               "-O sparse_super2" "-O orphan_file" "-O metadata_csum_seed" "-O ^flex_bg" "-O meta_bg,^resize_inode" "-O large_dir" "-g 1024"; do
    ok "adopted: $options" adopted "$options"
done
ok "an unknown ro_compat feature makes it read-only" read_only
rig_done
