// SPDX-License-Identifier: MIT
// image.c - a transaction's blocks, laid out in memory exactly as the log will hold them.
//
//   | revokes ... | descriptor | data ... | descriptor | data ... | commit |
//
// So a run of the journal on the disk is one piece of memory and one write. Copying into the image
// is the snapshot: from then on the buffers may change.
#include <string.h>

#include "base/byteorder.h"
#include "base/check.h"
#include "journal/internal.h"
#include "ondisk/verify.h"

// Where the next block of the image goes.
struct painter {
    const struct jbd2_super *super;
    uint32_t sequence;
    uint8_t *next;
};

static uint8_t *next_block(struct painter *painter)
{
    uint8_t *block = painter->next;
    painter->next += BLOCK_BYTES;
    return block;
}

static uint8_t *next_control_block(struct painter *painter, enum jbd2_block_type type)
{
    uint8_t *block = next_block(painter);
    memset(block, 0, BLOCK_BYTES);
    jbd2_header_set(block, type, painter->sequence);
    return block;
}

static void paint_revokes(struct painter *painter, const struct txn *txn)
{
    uint32_t index = 0;
    uint8_t *block = NULL;
    HTABLE_EACH(node, &txn->revokes) {
        if (!block || index == jbd2_revokes_max(painter->super)) {
            if (block)
                jbd2_tail_seal(painter->super, block);
            block = next_control_block(painter, JBD2_REVOKE);
            index = 0;
        }
        jbd2_revoke_put(painter->super, block, index++, node->key);
    }
    if (block)
        jbd2_tail_seal(painter->super, block);
}

// A block that looks like one of the journal's own loses its first word in the log; the tag says so.
static uint32_t escape(uint8_t *copy)
{
    struct be32 word;
    memcpy(&word, copy, sizeof(word));
    if (be32(word) != JBD2_MAGIC)
        return 0;
    memset(copy, 0, sizeof(word));
    return JBD2_TAG_ESCAPE;
}

// The last look at a block before it becomes part of a transaction: nobody has changed it who may not,
// and it is what its type says. What fails here came from damaged memory, or from a bug, and must not be
// committed: the process ends, and the successor starts from the transaction before.
static void guard(struct journal *jrn, struct buf *buf)
{
    const char *why;
    buf_check_now(jrn->cache, buf);
    block_seal(jrn->geo, buf->ref.type, &buf->ref.owner, buf->block, buf->bytes);
    if (jrn->geo && block_verify(jrn->geo, buf->ref.type, &buf->ref.owner, buf->block, buf->bytes, &why) < 0)
        damage_found("what=block block=%llu type=%s inode=%u lblock=%llu why=\"%s\"", (unsigned long long)buf->block,
                     block_type_name(buf->ref.type), buf->ref.owner.ino, (unsigned long long)buf->ref.owner.lblock, why);
    buf_seal(jrn->cache, buf);
}

// One descriptor and the blocks that its tags name.
static void paint_group(struct painter *painter, struct journal *jrn, struct buf **bufs, uint32_t count)
{
    uint8_t *descriptor = next_control_block(painter, JBD2_DESCRIPTOR);
    uint32_t offset = sizeof(struct jbd2_header), last = offset;
    for (uint32_t i = 0; i < count; i++) {
        struct buf *buf = bufs[i];
        uint8_t *copy = next_block(painter);
        guard(jrn, buf);
        memcpy(copy, buf->bytes, BLOCK_BYTES);
        struct jbd2_tag_info tag = {
            .block = buf->block, .flags = escape(copy) | (i ? JBD2_TAG_SAME_UUID : 0),
        };
        tag.checksum = jbd2_data_csum(painter->super, painter->sequence, copy);
        last = offset;
        offset = jbd2_tag_put(painter->super, descriptor, offset, &tag);
    }
    jbd2_tag_set_last(painter->super, descriptor, last);
    jbd2_tail_seal(painter->super, descriptor);
}

void image_build(struct journal *jrn, struct txn *txn)
{
    txn->log_blocks = (uint32_t)txn_log_blocks(jrn, txn->buf_count, txn->revokes.count);
    txn->image = aligned_alloc(BLOCK_BYTES, (size_t)txn->log_blocks * BLOCK_BYTES);
    CHECK(txn->image != NULL);
    struct painter painter = {
        .super = &jrn->super, .sequence = (uint32_t)txn->tid, .next = txn->image,
    };
    paint_revokes(&painter, txn);
    uint32_t group_max = jbd2_tags_max(&jrn->super);
    for (uint32_t done = 0; done < txn->buf_count; done += group_max)
        paint_group(&painter, jrn, txn->entries + done, MIN(group_max, txn->buf_count - done));
    CHECK(painter.next == txn->image + (size_t)(txn->log_blocks - 1) * BLOCK_BYTES);
}

void image_commit(struct journal *jrn, struct txn *txn)
{
    struct timespec now;
    rt_wall_clock(jrn->rt, &now);
    struct jbd2_commit commit = {
        .sequence = (uint32_t)txn->tid, .sec = (uint64_t)now.tv_sec, .nsec = (uint32_t)now.tv_nsec,
    };
    jbd2_commit_init(&jrn->super, &commit, txn->image + (size_t)(txn->log_blocks - 1) * BLOCK_BYTES);
}
