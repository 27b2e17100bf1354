// SPDX-License-Identifier: MIT
// recover.c - after a crash: scan, revokes, replay, and an empty log with the next sequence.
//
// Every step may be cut by the next crash: replay writes what the log says and nothing else, so it
// can be done again; the log is marked empty only when all of it is stable at home.
#include <string.h>

#include "base/byteorder.h"
#include "base/check.h"
#include "base/log.h"
#include "journal/recovery.h"

// Reading ahead doubles as long as blocks are wanted one behind the other; a lazy recovery jumps over
// logged blocks, and after a far jump little is read.
#define AHEAD_LEAST 8u
#define AHEAD_MOST 256u             // 1 MiB: more is not faster, nor are several at once
#define FAR_JUMP 32u

// Of ext4's fast commits the first tag only: its head.
#define FC_TAG_HEAD 0x0009u
struct fc_head {
    struct le16 tag, len;
    struct le32 features, tid;
};

static YIELDS int read_piece(struct recovery *rec, uint32_t at, uint32_t count)
{
    struct log_reader *reader = &rec->reader;
    reader->count = 0;
    io_set_fini(&reader->io);
    // The fast-commit area lies behind the log; both are read by their number in the file.
    for (uint32_t done = 0; done < count;) {
        uint64_t contiguous;
        uint64_t block = log_map_block(&rec->jrn->map, at + done, &contiguous);
        uint32_t run = (uint32_t)MIN(contiguous, count - done);
        struct shep_ref ref = log_ref(rec->jrn, BLOCK_JOURNAL, at + done);
        io_set_add(&reader->io, &ref, block, run, reader->bytes + (size_t)done * BLOCK_BYTES);
        done += run;
    }
    int rc = io_set_run(rec->jrn, &reader->io, false);
    if (rc < 0)
        return rc;
    reader->first = at;
    reader->count = count;
    return 0;
}

// How much to read at once from `at` on.
static uint32_t ahead(const struct recovery *rec, uint32_t at)
{
    const struct log_reader *reader = &rec->reader;
    const struct jbd2_super *super = &rec->jrn->super;
    if (at >= reader->careful_first && at < reader->careful_end)
        return 1;
    uint32_t end = at < super->log_end ? super->log_end : super->max_len;
    uint32_t read_end = reader->first + reader->count;
    bool near = reader->count && at >= read_end && at - read_end < FAR_JUMP;
    uint32_t count = near ? 2 * reader->count : AHEAD_LEAST;
    count = MIN(count, AHEAD_MOST);
    return MIN(count, end - at);
}

// One bad block among those read ahead is nobody's business until it is asked for.
static YIELDS int fetch(struct recovery *rec, uint32_t at)
{
    uint32_t count = ahead(rec, at);
    if (count > rec->reader.room) {
        free(rec->reader.bytes);
        rec->reader.bytes = xblocks(count);
        rec->reader.room = count;
    }
    int rc = read_piece(rec, at, count);
    if (rc == 0 || count == 1)
        return rc;
    rec->reader.careful_first = at;
    rec->reader.careful_end = at + count;
    return read_piece(rec, at, 1);
}

int rec_read(struct recovery *rec, uint32_t at, const uint8_t **out)
{
    struct log_reader *reader = &rec->reader;
    CHECK(at < rec->jrn->super.max_len);
    if (at < reader->first || at - reader->first >= reader->count) {
        int rc = fetch(rec, at);
        if (rc < 0)
            return err_set(rec->err, -rc, "block %u of the journal cannot be read (run e2fsck)", at);
    }
    *out = reader->bytes + (size_t)(at - reader->first) * BLOCK_BYTES;
    return 0;
}

// Fast commits say what changed in ext4's own terms; drover does not replay them. Those that belong
// to a transaction which a full commit has overtaken are dead, as for the kernel.
static YIELDS int refuse_fast_commits(struct recovery *rec)
{
    const struct jbd2_super *super = &rec->jrn->super;
    const uint8_t *bytes;
    if (super->log_end == super->max_len)
        return 0;
    int rc = rec_read(rec, super->log_end, &bytes);
    if (rc < 0)
        return rc;
    struct fc_head head;
    memcpy(&head, bytes, sizeof(head));
    if (le16(head.tag) != FC_TAG_HEAD || le32(head.tid) != super->sequence + rec->txn_count)
        return 0;
    log_error("event=journal_refused tid=%u reason=\"fast commits\"", le32(head.tid));
    return err_set(rec->err, EOPNOTSUPP, "the journal holds fast commits, which drover cannot replay (mount the volume once with the kernel, or run e2fsck)");
}

struct recovery *recovery_create(struct journal *jrn, struct err *err)
{
    struct recovery *rec = xcalloc(1, sizeof(*rec));
    rec->jrn = jrn;
    rec->err = err;
    htable_init(&rec->targets);
    return rec;
}

void recovery_destroy(struct recovery *rec)
{
    io_set_fini(&rec->reader.io);
    io_set_fini(&rec->io);
    htable_fini(&rec->targets);
    free(rec->reader.bytes);
    free(rec->tags);
    free(rec->txns);
    free(rec->revokes);
    free(rec->target_pool);
    free(rec->image);
    free(rec->batch);
    free(rec);
}

static YIELDS int recover_steps(struct recovery *rec)
{
    int rc = rec_scan(rec);
    if (rc == 0)
        rc = refuse_fast_commits(rec);
    if (rc == 0)
        rc = rec_revoke_pass(rec);
    if (rc == 0)
        rc = rec_replay(rec);
    if (rc < 0)
        return rc;
    rc = shep_flush(rec->jrn->shep);
    return rc < 0 ? err_set(rec->err, -rc, "the device cannot be flushed") : 0;
}

// The next number is one more than that of the transaction that was perhaps being written: a left-over
// of it in the log can never be taken for a new one. The empty log says the number that was not committed,
// so that the next life knows it, too; it skips that one as well.
static YIELDS int restart_log(struct journal *jrn, uint64_t newest, struct err *err)
{
    struct jbd2_super before = jrn->super;
    journal_start(jrn, newest + 2);
    int rc = super_write_empty(jrn, newest + 1);
    if (rc == 0)
        return 0;
    jrn->super = before;        // what the log on the disk is read by
    jrn->needs_recovery = true;
    return err_set(err, -rc, "the journal's superblock cannot be written");
}

int jrn_recover(struct journal *jrn, uint64_t *replayed, struct err *err)
{
    if (replayed)
        *replayed = 0;
    if (!jrn->needs_recovery || (jrn->adopt && adopt_run(jrn)))
        return 0;
    struct recovery *rec = jrn->recovery = recovery_create(jrn, err);
    int rc = recover_steps(rec);
    uint32_t first = jrn->super.sequence, count = rec->txn_count;
    jrn->recovered_tid = journal_tid(jrn, first) + count - 1;
    if (rc == 0)
        rc = restart_log(jrn, jrn->recovered_tid, err);
    if (rc == 0)
        log_info("event=journal_recovered sequence=%u transactions=%u blocks=%llu", first, count,
                 (unsigned long long)rec->replayed);
    if (replayed)
        *replayed = rec->replayed;
    recovery_destroy(rec);
    jrn->recovery = NULL;
    return rc;
}
