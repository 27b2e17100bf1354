// SPDX-License-Identifier: MIT
// recovery.h - what the passes of recovery (scan.c, replay.c, recover.c) hand to each other.
//
// The log is input from a disk: every number in it is judged before it is used. Memory is bounded
// by the size of the log: a tag exists for each log block at most, and of revoke records only
// those count whose block has a tag.
#pragma once

#include "journal/internal.h"

// A logged block: what a tag said, and where the block lies in the log.
struct rec_tag {
    uint64_t block;
    uint32_t at;                    // block of the journal
    uint32_t txn;                   // transactions are counted from 0 at the tail
    uint32_t checksum;
    bool escaped;
    bool bad;                       // its checksum is wrong; unknown in a lazy recovery
};

// A committed transaction.
struct rec_txn {
    uint32_t start, blocks;
};

// A block of revoke records.
struct rec_revoke {
    uint32_t at, txn;
};

// A block of the volume that the log holds at least once.
struct rec_target {
    struct hnode node;              // by block
    uint32_t tag;                   // the newest
    uint32_t revoked_until;         // content of transactions below this number is dead
};

// Reads journal blocks in large pieces.
struct log_reader {
    struct journal *jrn;
    uint8_t *bytes;
    uint32_t room;                  // blocks that `bytes` can hold: it grows, as most logs are short
    uint32_t first, count;          // journal blocks in `bytes`
    uint32_t careful_first, careful_end;    // where reading ahead failed: one by one there
    struct io_set io;
};

struct replay_block;
struct recovery {
    struct journal *jrn;
    struct err *err;
    bool lazy;                      // logged blocks are not read
    bool torn;                      // behind the last transaction is one whose commit block is wrong
    struct log_reader reader;
    struct rec_tag *tags;
    uint32_t tag_count, tag_capacity;
    struct rec_revoke *revokes;
    uint32_t revoke_count, revoke_capacity;
    struct rec_txn *txns;
    uint32_t txn_count, txn_capacity;   // that are committed; tags and revokes of others were taken back
    struct htable targets;
    struct rec_target *target_pool;
    uint64_t replayed;
    struct replay_block *batch;     // of replay.c, as the next two
    uint8_t *image;
    struct io_set io;
};

// A pointer to one block of the journal, valid until the next call. -EIO, with the sentence.
YIELDS MUST_USE int rec_read(struct recovery *rec, uint32_t at, const uint8_t **out);

// Walks the log, transaction by transaction, to its end; fills tags, revokes, txn_count.
YIELDS MUST_USE int rec_scan(struct recovery *rec);
// Finds what is to be replayed and judges it all, before the first block is written.
YIELDS MUST_USE int rec_revoke_pass(struct recovery *rec);
// Is this tag the newest content of its block, and not revoked?
bool rec_is_wanted(const struct recovery *rec, uint32_t tag);
YIELDS MUST_USE int rec_replay(struct recovery *rec);
