// SPDX-License-Identifier: MIT
// plog.c - the P-Log's ring: promise, append, trim, walk.
//
// The writer trusts its own promises; what stands in the ring it checks before it gives it back, and
// plog_walk() trusts nothing, for it runs after a death that may have been caused by wild stores. See plog.h for
// the layout.
#include "plog/plog.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "plog/internal.h"

#define PLOG_MAGIC 0x474f4c50u      // "PLOG"
#define PLOG_VERSION 2u

static_assert(sizeof(struct plog_head) <= PLOG_HEAD_SLOTS * PLOG_SLOT, "the head fits its slots");

size_t plog_bytes(uint64_t slot_count)
{
    return (slot_count + PLOG_HEAD_SLOTS) * PLOG_SLOT;
}

static uint32_t head_crc(const struct plog_head *head)
{
    return crc32c(~0u, head, offsetof(struct plog_head, crc));
}

static struct plog plog_over(void *memory, uint64_t slot_count, uint64_t *sequence)
{
    return (struct plog){
        .head = memory,
        .slots = (struct plog_entry *)memory + PLOG_HEAD_SLOTS,
        .slot_count = slot_count,
        .sequence = sequence,
    };
}

void plog_init(struct plog *log, void *memory, size_t bytes, uint64_t *sequence)
{
    CHECK(bytes >= plog_bytes(PLOG_SLOTS_MIN));
    *log = plog_over(memory, bytes / PLOG_SLOT - PLOG_HEAD_SLOTS, sequence);
    *log->head = (struct plog_head){
        .magic = PLOG_MAGIC, .version = PLOG_VERSION, .slot_count = log->slot_count,
        .head_check = ~0ull, .tail_check = ~0ull,
    };
    log->head->crc = head_crc(log->head);
    plog_redo_init(log);
}

static const char *judge_head(const struct plog_head *head, uint64_t slots_max)
{
    if (slots_max < PLOG_SLOTS_MIN)
        return "memory too small";
    if (head->magic != PLOG_MAGIC || head->version != PLOG_VERSION || head->crc != head_crc(head))
        return "bad head";
    if (head->slot_count < PLOG_SLOTS_MIN || head->slot_count > slots_max)
        return "bad size";
    return NULL;
}

int plog_attach(struct plog *log, void *memory, size_t bytes, uint64_t *sequence)
{
    const struct plog_head *head = memory;
    uint64_t slots = bytes / PLOG_SLOT;
    const char *why = judge_head(head, slots - MIN(slots, (uint64_t)PLOG_HEAD_SLOTS));

    if (!why) {
        *log = plog_over(memory, head->slot_count, sequence);
        why = plog_settle_bounds(log);
    }
    if (!why)
        why = plog_redo_attach(log);
    if (why) {
        log_error("event=plog-rejected reason=\"%s\"", why);
        return -EFSCORRUPTED;
    }
    return 0;
}

// --- promise ------------------------------------------------------------------------------------

uint64_t plog_used(const struct plog *log)
{
    return log->head->tail - MIN(log->head->head, log->head->tail);
}

uint32_t plog_slots(size_t name_len, size_t data_len)
{
    return (uint32_t)(1 + DIV_ROUND_UP(name_len + data_len, PLOG_SLOT));
}

bool plog_reserve(struct plog *log, struct plog_room *room, uint32_t slots)
{
    CHECK(slots <= PLOG_SLOTS_MIN);
    if (plog_used(log) + log->promised + slots > log->slot_count)
        return false;
    log->promised += slots;
    room->slots += slots;
    return true;
}

void plog_unreserve(struct plog *log, struct plog_room *room)
{
    CHECK(room->slots <= log->promised);
    log->promised -= room->slots;
    room->slots = 0;
}

// --- append -------------------------------------------------------------------------------------

// A death between the two stores is told from a flipped bit by plog_settle_bounds().
void plog_set_head(struct plog *log, uint64_t value)
{
    __atomic_store_n(&log->head->head, value, __ATOMIC_RELEASE);
    __atomic_store_n(&log->head->head_check, ~value, __ATOMIC_RELEASE);
}

void plog_set_tail(struct plog *log, uint64_t value)
{
    __atomic_store_n(&log->head->tail, value, __ATOMIC_RELEASE);
    __atomic_store_n(&log->head->tail_check, ~value, __ATOMIC_RELEASE);
}

// `skip` bytes behind the begin of slot `first`; may run over the end of the ring.
static void ring_copy(const struct plog *log, uint64_t first, size_t skip, void *bytes, size_t len, bool in)
{
    uint8_t *ring = (uint8_t *)log->slots;
    if (len == 0)
        return;
    size_t size = log->slot_count * PLOG_SLOT;
    size_t at = (size_t)(first % log->slot_count) * PLOG_SLOT + skip;

    while (len > 0) {
        while (at >= size)
            at -= size;
        size_t piece = MIN(len, size - at);
        if (in)
            memcpy(ring + at, bytes, piece);
        else
            memcpy(bytes, ring + at, piece);
        at += piece;
        bytes = (uint8_t *)bytes + piece;
        len -= piece;
    }
}

void plog_piece_copy(const struct plog *log, uint64_t at, void *piece, size_t len, bool in)
{
    ring_copy(log, at, 0, piece, len, in);
}

uint64_t plog_append(struct plog *log, struct plog_room *room, const struct plog_entry *entry, const void *name, const void *data)
{
    uint32_t slots = plog_slots(entry->name_len, entry->data_len);
    uint64_t at = log->head->tail;
    struct plog_entry *slot = plog_slot(log, at);

    CHECK(slots <= room->slots);
    CHECK(plog_used(log) + slots <= log->slot_count);
    *slot = *entry;
    slot->seq = __atomic_add_fetch(log->sequence, 1, __ATOMIC_RELAXED);
    uint32_t crc = crc32c(~0u, (const uint8_t *)slot + sizeof(slot->crc), PLOG_SLOT - sizeof(slot->crc));
    if (entry->name_len > 0)
        crc = crc32c(crc, name, entry->name_len);
    if (entry->data_len > 0)
        crc = crc32c(crc, data, entry->data_len);
    slot->crc = crc;
    ring_copy(log, at + 1, 0, (void *)name, entry->name_len, true);
    ring_copy(log, at + 1, entry->name_len, (void *)data, entry->data_len, true);

    room->slots -= slots;
    log->promised -= slots;
    // From here the entry exists. A death before this store leaves no trace of it.
    plog_set_tail(log, at + slots);
    return slot->seq;
}

// --- trim ---------------------------------------------------------------------------------------

// An entry that was damaged while it stood in the ring might be given back too early, or lead astray.
static const struct plog_entry *own_entry(struct plog *log, uint64_t at)
{
    if (!plog_entry_is_whole(log, at, log->head->tail)) {
        AUTO_FREE uint8_t *piece = xmalloc(PLOG_PIECE_MAX);
        const char *why = plog_entry_read(log, at, log->head->tail, piece);
        if (why)
            log_error("event=plog-damaged slot=%llu reason=\"%s\"", (unsigned long long)at, why);
        CHECK(!why);
    }
    return plog_slot(log, at);
}

static bool may_go(const struct plog *log, const struct plog_entry *entry, uint64_t committed_tid, const struct plog_settle *settle)
{
    if (!plog_is_durable(log, entry, committed_tid))
        return false;
    if (!(entry->bits & PLOG_DATA))
        return true;
    return settle && settle->settled(settle->arg, entry);
}

// All before slot `at`.
static void give_back(struct plog *log, uint64_t at)
{
    uint64_t head = log->head->head, tail = log->head->tail;

    CHECK(at <= tail);
    log->given_back += at - head;
    if (at != head)
        plog_set_head(log, at);
    if (at != tail)
        return;
    // Empty: begins again at the beginning, so that a quiet mount touches little memory.
    plog_set_tail(log, 0);
    plog_set_head(log, 0);
}

void plog_trim(struct plog *log, uint64_t committed_tid, const struct plog_settle *settle)
{
    uint64_t head = log->head->head, tail = log->head->tail, at = head, first_seq = UINT64_MAX;

    log->head->committed_tid = committed_tid;
    while (at < tail) {
        const struct plog_entry *entry = own_entry(log, at);
        if (!may_go(log, entry, committed_tid, settle)) {
            first_seq = entry->seq;
            break;
        }
        at += plog_slots(entry->name_len, entry->data_len);
    }
    if (head < tail)
        give_back(log, at);
    // Last, for it is what tells entries of a predecessor that are durable from those that are not.
    plog_redo_trim(log, committed_tid, first_seq);
}

// --- walk ---------------------------------------------------------------------------------------

static const char *judge_order(const struct plog_entry *entry, uint64_t seq_before)
{
    if (entry->op == PLOG_NONE || entry->op >= PLOG_OP_COUNT)
        return "unknown operation";
    return entry->seq <= seq_before ? "out of order" : NULL;
}

int plog_walk_from(struct plog *log, uint64_t at, int (*visit)(void *arg, const struct plog_view *view), void *arg)
{
    AUTO_FREE uint8_t *piece = xmalloc(PLOG_PIECE_MAX);
    struct plog_entry *entry = (void *)piece;
    uint64_t seq = 0;

    while (at < log->head->tail) {
        const char *why = plog_entry_read(log, at, log->head->tail, piece);
        if (!why)
            why = judge_order(entry, seq);
        if (why) {
            log_error("event=plog-entry-rejected slot=%llu seq-before=%llu reason=\"%s\"",
                      (unsigned long long)at, (unsigned long long)seq, why);
            return -EFSCORRUPTED;
        }
        const uint8_t *spill = piece + PLOG_SLOT;
        struct plog_view view = {entry, spill, spill + entry->name_len, at};
        seq = entry->seq;
        at += plog_slots(entry->name_len, entry->data_len);
        int rc = visit(arg, &view);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int plog_walk(struct plog *log, int (*visit)(void *arg, const struct plog_view *view), void *arg)
{
    return plog_walk_from(log, log->head->head, visit, arg);
}
