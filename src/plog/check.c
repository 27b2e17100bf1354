// SPDX-License-Identifier: MIT
// check.c - judging what stands in the ring, and putting right what one flipped bit has done.
//
// A checksum of 32 bits over so few bytes tells every single bit apart: if turning one bit makes it
// fit, that bit was turned (crc32c_mend).
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "plog/internal.h"

bool plog_mend(void *bytes, size_t len, uint32_t crc)
{
    return crc32c_mend(bytes, len, ~0u, &crc);
}

// --- entries ------------------------------------------------------------------------------------

static size_t piece_len(const struct plog_entry *entry)
{
    return PLOG_SLOT + entry->name_len + entry->data_len;
}

static bool fits(const struct plog_entry *entry, uint64_t at, uint64_t end)
{
    return plog_slots(entry->name_len, entry->data_len) <= end - at;
}

static uint32_t piece_crc(const void *piece, size_t len)
{
    return crc32c(~0u, (const uint8_t *)piece + sizeof(uint32_t), len - sizeof(uint32_t));
}

bool plog_entry_is_whole(const struct plog *log, uint64_t at, uint64_t end)
{
    const struct plog_entry *entry = plog_slot(log, at);
    if (at >= end || !fits(entry, at, end))
        return false;
    size_t len = piece_len(entry), first = MIN(len, (size_t)(log->slot_count - at % log->slot_count) * PLOG_SLOT);
    uint32_t crc = piece_crc(entry, first);
    return entry->crc == crc32c(crc, log->slots, len - first);
}

// A bit of the lengths was turned: then the checksum is over another range.
static bool mend_lengths(const struct plog *log, uint64_t at, uint64_t end, struct plog_entry *piece)
{
    uint16_t *lengths[2] = {&piece->name_len, &piece->data_len};

    for (uint32_t i = 0; i < 32; i++) {
        uint16_t *length = lengths[i / 16], was = *length;
        *length ^= (uint16_t)(1u << i % 16);
        if (fits(piece, at, end)) {
            plog_piece_copy(log, at + 1, piece + 1, piece_len(piece) - PLOG_SLOT, false);
            if (piece->crc == piece_crc(piece, piece_len(piece)))
                return true;
        }
        *length = was;
    }
    return false;
}

static bool mend_entry(const struct plog *log, uint64_t at, uint64_t end, struct plog_entry *piece)
{
    bool mended = false;

    if (fits(piece, at, end)) {
        plog_piece_copy(log, at, piece, piece_len(piece), false);
        size_t len = piece_len(piece);
        mended = plog_mend((uint8_t *)piece + sizeof(piece->crc), len - sizeof(piece->crc), piece->crc) &&
                 len == piece_len(piece);
        if (mended)
            piece->crc = piece_crc(piece, len);
    }
    if (!mended)
        plog_piece_copy(log, at, piece, PLOG_SLOT, false);
    return mended || mend_lengths(log, at, end, piece);
}

const char *plog_entry_read(struct plog *log, uint64_t at, uint64_t end, void *piece)
{
    struct plog_entry *entry = piece;

    plog_piece_copy(log, at, piece, PLOG_SLOT, false);
    if (fits(entry, at, end)) {
        size_t len = piece_len(entry);
        if (len > PLOG_SLOT)
            plog_piece_copy(log, at + 1, entry + 1, len - PLOG_SLOT, false);
        if (entry->crc == piece_crc(piece, len))
            return NULL;
    }
    if (!mend_entry(log, at, end, entry))
        return fits(plog_slot(log, at), at, end) ? "bad checksum" : "runs past the tail";
    plog_piece_copy(log, at, piece, piece_len(entry), true);
    log->mended++;
    log_warn("event=plog-entry-mended slot=%llu seq=%llu", (unsigned long long)at, (unsigned long long)entry->seq);
    return NULL;
}

// --- head and tail --------------------------------------------------------------------------------

// Follows whole entries from `at` on, up to slot `end`: returns the last of the two places that it comes to,
// or UINT64_MAX.
static uint64_t follow(const struct plog *log, uint64_t at, uint64_t end, uint64_t a, uint64_t b)
{
    uint64_t reached = UINT64_MAX, seq = 0;

    for (;;) {
        if (at == a || at == b)
            reached = at;
        if (at >= end || !plog_entry_is_whole(log, at, end) || plog_slot(log, at)->seq <= seq)
            return reached;
        seq = plog_slot(log, at)->seq;
        at += plog_slots(plog_slot(log, at)->name_len, plog_slot(log, at)->data_len);
    }
}

static bool are_bounds(const struct plog *log, uint64_t head, uint64_t tail)
{
    if (head > tail)
        return tail == 0;           // a restart that was under way
    return tail - head <= log->slot_count;
}

// The tail and its complement name two places: the right one is the later that entries lead to.
static const char *settle_tail(struct plog *log, uint64_t head, uint64_t a, uint64_t b)
{
    uint64_t end = MIN(MAX(a, b), head + log->slot_count);
    uint64_t tail = head <= end ? follow(log, head, end, a, b) : UINT64_MAX;

    if (tail == UINT64_MAX)
        return "bad tail";
    plog_set_tail(log, tail);
    return NULL;
}

// Of two heads the one from which entries lead to the tail, the earlier if both do: what it has too much was
// given back, and is durable.
static const char *settle_head(struct plog *log, uint64_t a, uint64_t b, uint64_t tail)
{
    uint64_t tries[2] = {MIN(a, b), MAX(a, b)};

    for (uint32_t i = 0; i < ARRAY_LEN(tries); i++) {
        if (tail == 0)
            tries[i] = 0;           // empty, whatever the head says
        if (tries[i] > tail || tail - tries[i] > log->slot_count ||
            follow(log, tries[i], tail, tail, tail) != tail)
            continue;
        plog_set_head(log, tries[i]);
        return NULL;
    }
    return "bad head of the ring";
}

const char *plog_settle_bounds(struct plog *log)
{
    uint64_t head = log->head->head, head_check = ~log->head->head_check;
    uint64_t tail = log->head->tail, tail_check = ~log->head->tail_check;
    bool torn = head != head_check || tail != tail_check;
    const char *why = NULL;

    if (head != head_check && tail != tail_check)
        why = "bad bounds";
    else if (head != head_check)
        why = settle_head(log, head, head_check, tail);
    else if (tail != tail_check)
        why = settle_tail(log, head, tail, tail_check);
    if (!why && !are_bounds(log, log->head->head, log->head->tail))
        why = "bad bounds";
    if (!why && log->head->head > log->head->tail)
        plog_set_head(log, 0);
    if (torn && !why) {
        log->mended++;
        log_warn("event=plog-bounds-settled head=%llu tail=%llu", (unsigned long long)log->head->head,
                 (unsigned long long)log->head->tail);
    }
    return why;
}
