// SPDX-License-Identifier: MIT
// page_arena.c - memory that outlives the server: descriptors, and where to look for the busy ones.
//
//     | descriptors | head: replaying, slot | busy bitmap | the same again | content |
//
// The server may be killed between any two stores. A descriptor is therefore first written into the
// slot, complete with its checksum, then to its place: one of the two is whole at any moment. A page's
// bits in the bitmaps are set before its descriptor says busy, and cleared after it stopped saying so.
// Stores of one thread reach the memory in their order; the compiler is told by signal fences.
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "cache/page_pool.h"

static_assert(sizeof(struct page_desc) == PAGE_DESC_BYTES, "descriptors outlive the server: their layout is fixed");
static_assert(offsetof(struct page_desc, tid) == offsetof(struct page_desc, crc) + 4, "the crc skips itself");

static inline void in_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void page_arena_open(struct page_arena *arena, void *memory, uint64_t count)
{
    CHECK((uintptr_t)memory % BLOCK_BYTES == 0);
    uint8_t *at = memory;
    arena->count = count;
    arena->descs = memory;
    at += page_arena_descs(count) * BLOCK_BYTES;
    arena->head = (struct page_head *)at;
    at += BLOCK_BYTES;
    for (uint32_t i = 0; i < 2; i++) {
        arena->busy[i] = (uint64_t *)at;
        at += page_arena_bitmap(count) * BLOCK_BYTES;
    }
    arena->bytes = at;
}

// --- seals ----------------------------------------------------------------------------------------------

// The fields in one piece, without the checksum.
#define PLAIN_BYTES (PAGE_DESC_BYTES - sizeof(uint32_t))

static void to_plain(const struct page_desc *desc, uint8_t plain[PLAIN_BYTES])
{
    memcpy(plain, desc, offsetof(struct page_desc, crc));
    memcpy(plain + offsetof(struct page_desc, crc), &desc->tid, sizeof desc->tid);
}

static uint32_t desc_crc(const struct page_desc *desc)
{
    uint8_t plain[PLAIN_BYTES];
    to_plain(desc, plain);
    return crc32c(~0u, plain, sizeof plain);
}

static uint32_t slot_crc(const struct page_slot *slot)
{
    return crc32c(slot->desc.crc, &slot->page, sizeof slot->page);
}

void page_arena_write(struct page_arena *arena, uint64_t page, const struct page_desc *desc)
{
    struct page_slot *slot = &arena->head->slot;
    struct page_desc sealed = *desc;
    sealed.crc = desc_crc(&sealed);
    slot->page = page;
    slot->desc = sealed;
    slot->crc = slot_crc(slot);
    in_order();
    arena->descs[page] = sealed;
    in_order();
}

// The slot holds the newest of all writes, unless it is torn itself: then its descriptor was not begun.
void page_arena_finish_write(struct page_arena *arena)
{
    struct page_slot slot = arena->head->slot;
    if (slot.page < arena->count && slot.desc.crc == desc_crc(&slot.desc) && slot.crc == slot_crc(&slot))
        arena->descs[slot.page] = slot.desc;
}

static bool was_never_written(const struct page_desc *desc)
{
    static const struct page_desc zero;
    return memcmp(desc, &zero, sizeof zero) == 0;
}

bool page_arena_check(struct page_arena *arena, uint64_t page)
{
    struct page_desc *desc = &arena->descs[page];
    uint8_t plain[PLAIN_BYTES];
    if (desc->crc == desc_crc(desc) || was_never_written(desc))
        return true;
    to_plain(desc, plain);
    uint32_t crc = desc->crc;
    if (!crc32c_mend(plain, sizeof plain, ~0u, &crc))
        return false;
    memcpy(desc, plain, offsetof(struct page_desc, crc));
    memcpy(&desc->tid, plain + offsetof(struct page_desc, crc), sizeof desc->tid);
    desc->crc = crc;
    arena->mended++;
    log_warn("event=page_descriptor_mended page=%llu ino=%u", (unsigned long long)page, desc->ino);
    return true;
}

// First the bitmaps: what no longer lists a page has lost it.
void page_arena_clear(struct page_arena *arena)
{
    struct page_desc unused = {0};
    unused.crc = desc_crc(&unused);
    for (uint32_t i = 0; i < 2; i++)
        memset(arena->busy[i], 0, page_arena_bitmap(arena->count) * BLOCK_BYTES);
    memset(arena->head, 0, BLOCK_BYTES);
    in_order();
    for (uint64_t i = 0; i < arena->count; i++)
        arena->descs[i] = unused;
    page_arena_set_looked_at(arena, UINT64_MAX);
}

// --- busy pages -----------------------------------------------------------------------------------------

void page_arena_set_busy(struct page_arena *arena, uint64_t page, bool busy)
{
    uint64_t bit = 1ull << (page & 63);
    in_order();
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t *word = &arena->busy[i][page >> 6];
        *word = busy ? *word | bit : *word & ~bit;
    }
    in_order();
}

uint64_t page_arena_next_busy(const struct page_arena *arena, uint64_t from)
{
    while (from < arena->count) {
        uint64_t word = (arena->busy[0][from >> 6] | arena->busy[1][from >> 6]) & (~0ull << (from & 63));
        if (word)
            return MIN((from & ~63ull) + (uint64_t)__builtin_ctzll(word), arena->count);
        from = (from | 63) + 1;
    }
    return arena->count;
}

// Torn or damaged: nothing is known to be up to date.
uint64_t page_arena_looked_at(const struct page_arena *arena)
{
    return arena->head->looked_at == ~arena->head->inverse ? arena->head->looked_at : 0;
}

void page_arena_set_looked_at(struct page_arena *arena, uint64_t count)
{
    in_order();
    arena->head->looked_at = count;
    arena->head->inverse = ~count;
    in_order();
}

bool page_arena_replaying(const struct page_arena *arena)
{
    return __builtin_popcountll(arena->head->replaying) >= 32;
}

void page_arena_set_replaying(struct page_arena *arena, bool on)
{
    in_order();
    arena->head->replaying = on ? ~0ull : 0;
    in_order();
}
