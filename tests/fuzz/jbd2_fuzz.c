// SPDX-License-Identifier: MIT
// jbd2_fuzz.c - blocks of a journal: walks stay inside, an accepted superblock is one to work with.
#include "fuzz.h"

#include <string.h>

#include "ondisk/jbd2.h"

static void try_super(uint8_t *bytes)
{
    struct jbd2_super super, again;
    const char *why = NULL;
    int rc = jbd2_super_decode(bytes, 2048, &super, &why);
    CHECK(rc == 0 || why);
    if (rc < 0)
        return;
    CHECK(super.log_end <= super.max_len && super.max_len <= 2048);
    CHECK(super.first >= 1 && super.first + JBD2_MIN_BLOCKS - 1 <= super.log_end);
    CHECK(super.start == 0 || (super.start >= super.first && super.start < super.log_end));
    super.start = super.first;
    super.sequence++;
    jbd2_super_encode(&super, bytes);
    CHECK(jbd2_super_decode(bytes, 2048, &again, &why) == 0);
    CHECK(again.start == super.start && again.sequence == super.sequence && again.error == super.error);
}

static void walk(const struct jbd2_super *super, const uint8_t *block)
{
    struct jbd2_tag_walk tags = jbd2_tags_start(block);
    struct jbd2_tag_info tag;
    uint32_t count = 0, revokes;
    while (jbd2_tags_next(super, &tags, &tag))
        count++;
    CHECK(count <= BLOCK_BYTES / jbd2_tag_size(super));

    if (jbd2_revoke_count(super, block, &revokes)) {
        CHECK(revokes <= jbd2_revokes_max(super));
        for (uint32_t i = 0; i < revokes; i++)
            CHECK(super->has_64bit || jbd2_revoke_at(super, block, i) <= UINT32_MAX);
    }
    (void)!jbd2_tail_is_right(super, block);
    (void)!jbd2_commit_is_right(super, block);
    (void)!jbd2_v1_commit_is_right(block, 0);
    (void)jbd2_block_type_of(block, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t formats[] = {
        0, JBD2_INCOMPAT_64BIT, JBD2_INCOMPAT_CSUM_V2, JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_64BIT,
        JBD2_INCOMPAT_CSUM_V3, JBD2_INCOMPAT_CSUM_V3 | JBD2_INCOMPAT_64BIT,
    };
    static const uint8_t uuid[16] = {1};
    uint8_t *bytes = fuzz_bytes(data, size, BLOCK_BYTES), *block = xcalloc(1, BLOCK_BYTES);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct jbd2_super super;
        jbd2_super_init(&(struct jbd2_super_new){.max_len = 2048, .incompat = formats[i], .uuid = uuid, .user_uuid = uuid}, block, &super);
        walk(&super, bytes);
    }
    free(block);
    free(bytes);

    // Its own 1024 bytes, so that a read beyond them is seen.
    bytes = fuzz_bytes(data, size, JBD2_SUPER_SIZE);
    try_super(bytes);
    free(bytes);
    return 0;
}
