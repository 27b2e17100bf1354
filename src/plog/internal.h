// SPDX-License-Identifier: MIT
// internal.h - what the files of plog share.
#pragma once

#include "base/crc32c.h"
#include "plog/plog.h"

#define PLOG_SLOT sizeof(struct plog_entry)
// An entry in one piece: the slot, its name, its data.
#define PLOG_PIECE_MAX (PLOG_SLOT + 2 * (size_t)UINT16_MAX)

static inline struct plog_entry *plog_slot(const struct plog *log, uint64_t at)
{
    return &log->slots[at % log->slot_count];
}

// --- the ring (plog.c) ------------------------------------------------------------------------
// Copies the entry with its spill into (out of) the ring, at slot `at`.
void plog_piece_copy(const struct plog *log, uint64_t at, void *piece, size_t len, bool in);
void plog_set_head(struct plog *log, uint64_t value);
void plog_set_tail(struct plog *log, uint64_t value);

// --- judgement (check.c) ----------------------------------------------------------------------
// Is the checksum of the entry at `at` right, which must end before slot `end`?
bool plog_entry_is_whole(const struct plog *log, uint64_t at, uint64_t end);
// Copies the entry at `at` into `piece` (PLOG_PIECE_MAX bytes), and puts one flipped bit right, in both.
// NULL, or why it cannot be believed.
const char *plog_entry_read(struct plog *log, uint64_t at, uint64_t end, void *piece);
// A head and tail that do not go with their complements: NULL when that is put right, else why not.
const char *plog_settle_bounds(struct plog *log);

// --- redo (redo.c) ----------------------------------------------------------------------------
void plog_redo_init(struct plog *log);
const char *plog_redo_attach(struct plog *log);
bool plog_is_durable(const struct plog *log, const struct plog_entry *entry, uint64_t committed_tid);
// Transactions up to `committed_tid` have committed, and what is left in the log begins with number `first_seq`.
void plog_redo_trim(struct plog *log, uint64_t committed_tid, uint64_t first_seq);
