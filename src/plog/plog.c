// SPDX-License-Identifier: MIT
// plog.c - the P-Log's ring: promise, append, trim, walk.
//
// The writer trusts its own ring between plog_init() and its death; plog_walk() trusts nothing, for it
// runs after a death that may have been caused by wild stores. See plog.h for the layout.
#include "plog/plog.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"

#define PLOG_MAGIC 0x474f4c50u      // "PLOG"
#define PLOG_VERSION 1u
#define PLOG_SLOT sizeof(struct plog_entry)

static_assert(sizeof(struct plog_head) <= PLOG_SLOT, "the head fits its slot");

size_t plog_bytes(uint64_t slot_count)
{
    return (slot_count + 1) * PLOG_SLOT;
}

static uint32_t head_crc(const struct plog_head *head)
{
    return crc32c(~0u, head, offsetof(struct plog_head, crc));
}

static struct plog plog_over(void *memory, uint64_t slot_count, uint64_t *sequence)
{
    return (struct plog){
        .head = memory,
        .slots = (struct plog_entry *)memory + 1,
        .slot_count = slot_count,
        .sequence = sequence,
    };
}

void plog_init(struct plog *log, void *memory, size_t bytes, uint64_t *sequence)
{
    CHECK(bytes >= plog_bytes(PLOG_SLOTS_MIN));
    *log = plog_over(memory, bytes / PLOG_SLOT - 1, sequence);
    *log->head = (struct plog_head){
        .magic = PLOG_MAGIC, .version = PLOG_VERSION, .slot_count = log->slot_count,
    };
    log->head->crc = head_crc(log->head);
}

int plog_attach(struct plog *log, void *memory, size_t bytes, uint64_t *sequence)
{
    const struct plog_head *head = memory;
    uint64_t slots_max = bytes / PLOG_SLOT;
    const char *why = NULL;

    if (slots_max < PLOG_SLOTS_MIN + 1)
        why = "memory too small";
    else if (head->magic != PLOG_MAGIC || head->version != PLOG_VERSION || head->crc != head_crc(head))
        why = "bad head";
    else if (head->slot_count < PLOG_SLOTS_MIN || head->slot_count > slots_max - 1)
        why = "bad size";
    else if (head->tail < head->head || head->tail - head->head > head->slot_count)
        why = "bad bounds";
    if (why) {
        log_error("event=plog-rejected reason=\"%s\"", why);
        return -EFSCORRUPTED;
    }
    *log = plog_over(memory, head->slot_count, sequence);
    return 0;
}

uint64_t plog_used(const struct plog *log)
{
    return log->head->tail - log->head->head;
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

// The spill begins in slot `first` and may run over the end of the ring: `skip` bytes into it,
// copies `len` bytes in (out of) the ring.
static void spill_copy(const struct plog *log, uint64_t first, size_t skip, void *bytes, size_t len, bool in)
{
    uint8_t *ring = (uint8_t *)log->slots;
    size_t size = log->slot_count * PLOG_SLOT;
    size_t at = (size_t)(first % log->slot_count) * PLOG_SLOT + skip;

    while (len > 0) {
        at %= size;
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

static uint32_t entry_crc(const struct plog_entry *entry, const void *name, const void *data)
{
    uint32_t crc = crc32c(~0u, (const uint8_t *)entry + sizeof(entry->crc), PLOG_SLOT - sizeof(entry->crc));
    crc = crc32c(crc, name, entry->name_len);
    return crc32c(crc, data, entry->data_len);
}

uint64_t plog_append(struct plog *log, struct plog_room *room, const struct plog_entry *entry, const void *name, const void *data)
{
    uint32_t slots = plog_slots(entry->name_len, entry->data_len);
    uint64_t at = log->head->tail;
    struct plog_entry copy = *entry;

    CHECK(slots <= room->slots);
    CHECK(plog_used(log) + slots <= log->slot_count);
    copy.seq = __atomic_add_fetch(log->sequence, 1, __ATOMIC_RELAXED);
    copy.crc = entry_crc(&copy, name, data);
    spill_copy(log, at + 1, 0, (void *)name, copy.name_len, true);
    spill_copy(log, at + 1, copy.name_len, (void *)data, copy.data_len, true);
    log->slots[at % log->slot_count] = copy;

    room->slots -= slots;
    log->promised -= slots;
    // From here the entry exists. A death before this store leaves no trace of it.
    __atomic_store_n(&log->head->tail, at + slots, __ATOMIC_RELEASE);
    return copy.seq;
}

static bool entry_is_durable(const struct plog_entry *entry, uint64_t committed_tid, const struct plog_settle *settle)
{
    if (entry->tid > committed_tid)
        return false;
    if (!(entry->bits & PLOG_DATA))
        return true;
    return settle && settle->settled(settle->arg, entry);
}

void plog_trim(struct plog *log, uint64_t committed_tid, const struct plog_settle *settle)
{
    uint64_t at = log->head->head;

    log->head->committed_tid = committed_tid;
    while (at < log->head->tail) {
        const struct plog_entry *entry = &log->slots[at % log->slot_count];
        if (!entry_is_durable(entry, committed_tid, settle))
            break;
        at += plog_slots(entry->name_len, entry->data_len);
    }
    CHECK(at <= log->head->tail);
    __atomic_store_n(&log->head->head, at, __ATOMIC_RELEASE);
}

// Why the entry at `at` cannot be believed, or NULL; `bytes` gets its name and data.
static const char *entry_fault(const struct plog *log, uint64_t at, uint64_t seq_before, uint8_t *bytes)
{
    const struct plog_entry *entry = &log->slots[at % log->slot_count];

    if (plog_slots(entry->name_len, entry->data_len) > log->head->tail - at)
        return "runs past the tail";
    spill_copy(log, at + 1, 0, bytes, (size_t)entry->name_len + entry->data_len, false);
    if (entry->crc != entry_crc(entry, bytes, bytes + entry->name_len))
        return "bad checksum";
    if (entry->op == PLOG_NONE || entry->op >= PLOG_OP_COUNT)
        return "unknown operation";
    if (entry->seq <= seq_before)
        return "out of order";
    return NULL;
}

int plog_walk(const struct plog *log, int (*visit)(void *arg, const struct plog_view *view), void *arg)
{
    AUTO_FREE uint8_t *bytes = xmalloc(2 * (size_t)UINT16_MAX);
    uint64_t at = log->head->head, seq = 0;

    while (at < log->head->tail) {
        const struct plog_entry *entry = &log->slots[at % log->slot_count];
        const char *why = entry_fault(log, at, seq, bytes);
        if (why) {
            log_error("event=plog-entry-rejected slot=%llu seq-before=%llu reason=\"%s\"",
                      (unsigned long long)at, (unsigned long long)seq, why);
            return -EFSCORRUPTED;
        }
        int rc = visit(arg, &(struct plog_view){ entry, bytes, bytes + entry->name_len });
        if (rc != 0)
            return rc;
        seq = entry->seq;
        at += plog_slots(entry->name_len, entry->data_len);
    }
    return 0;
}
