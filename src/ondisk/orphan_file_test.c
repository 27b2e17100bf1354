// SPDX-License-Identifier: MIT
// orphan_file_test.c - the orphan file that mke2fs makes, and what may stand in it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "ondisk/orphan_file.h"
#include "ondisk/image_rig.h"

static void blocks_of_mke2fs_are_right_and_hold_only_numbers_of_the_volume(void **state)
{
    (void)state;
    struct image image = image_make("-O orphan_file,metadata_csum", NULL);
    uint32_t ino = image.geo.orphan_file_ino;
    struct ext4_inode inode = image_inode(&image, ino);
    struct block_owner owner = {.ino = ino, .generation = inode.generation};
    const char *why = NULL;
    assert_true(inode.size >= BLOCK_BYTES);
    for (uint32_t lblock = 0; lblock < inode.size / BLOCK_BYTES; lblock++) {
        uint64_t number = image_map(&image, &inode, lblock);
        struct ext4_orphan_block *block = (struct ext4_orphan_block *)image_block(&image, number);
        assert_int_equal(orphan_block_verify(&image.geo, &owner, number, block, &why), 0);
        assert_int_equal(orphan_block_verify(&image.geo, &owner, number + 1, block, &why), -EFSBADCRC);

        block->inos[7] = to_le32(image.geo.first_ino + 1);
        assert_int_equal(orphan_block_verify(&image.geo, &owner, number, block, &why), -EFSBADCRC);
        orphan_block_seal(&image.geo, &owner, number, block);
        assert_int_equal(orphan_block_verify(&image.geo, &owner, number, block, &why), 0);
        static const uint32_t no_orphans[] = {EXT4_ROOT_INO, EXT4_JOURNAL_INO, UINT32_MAX};
        for (size_t i = 0; i < ARRAY_LEN(no_orphans); i++) {
            block->inos[7] = to_le32(no_orphans[i]);
            orphan_block_seal(&image.geo, &owner, number, block);
            assert_int_equal(orphan_block_verify(&image.geo, &owner, number, block, &why), -EFSCORRUPTED);
        }

        orphan_block_init(block);
        orphan_block_seal(&image.geo, &owner, number, block);
        assert_int_equal(orphan_block_verify(&image.geo, &owner, number, block, &why), 0);
        block->tail.magic = to_le32(0);
        assert_int_equal(orphan_block_verify(&image.geo, &owner, number, block, &why), -EFSCORRUPTED);
    }
    inode_fini(&inode);
    image_fini(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_mke2fs_are_right_and_hold_only_numbers_of_the_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
