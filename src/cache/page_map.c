// SPDX-License-Identifier: MIT
// page_map.c - a radix tree over 64-bit indexes, 6 bits a level, with a bit per slot and flag.
//
// A node of height 1 holds pages, one of height h holds nodes of height h - 1. Bit i of marks[f] is
// set when slot i is, or leads to, a page with flag f; marks[PRESENT] says which slots are used. The
// root is as low as the largest index allows.
#include "cache/page_map.h"

#include "base/check.h"

#define SLOT_BITS 6
#define SLOTS (1u << SLOT_BITS)
#define HEIGHT_MAX 11               // 66 bits
#define FLAG_COUNT 3                // PAGE_DIRTY, PAGE_WRITEBACK, PAGE_RESERVED
#define PRESENT FLAG_COUNT

static_assert((PAGE_DIRTY | PAGE_WRITEBACK | PAGE_RESERVED) == (1 << FLAG_COUNT) - 1, "a mark for each flag");

struct page_node {
    void *slots[SLOTS];
    uint64_t marks[FLAG_COUNT + 1];
};

static bool reaches(uint32_t height, uint64_t index)
{
    return height * SLOT_BITS >= 64 || index >> (height * SLOT_BITS) == 0;
}

static uint32_t slot_at(uint64_t index, uint32_t height)
{
    return (uint32_t)(index >> ((height - 1) * SLOT_BITS)) & (SLOTS - 1);
}

static void mark_set(struct page_node *node, uint32_t mark, uint32_t slot, bool on)
{
    uint64_t bit = 1ull << slot;
    node->marks[mark] = on ? node->marks[mark] | bit : node->marks[mark] & ~bit;
}

struct page *page_tree_find(const struct page_map *map, uint64_t index)
{
    if (!map->root || !reaches(map->height, index))
        return NULL;
    void *at = map->root;
    for (uint32_t height = map->height; at && height; height--)
        at = ((struct page_node *)at)->slots[slot_at(index, height)];
    return at;
}

// Puts nodes above the root until it reaches `index`.
static void grow(struct page_map *map, uint64_t index)
{
    if (!map->root) {
        // High enough at once: an empty node put below others would never be taken out again.
        map->root = xcalloc(1, sizeof(*map->root));
        for (map->height = 1; !reaches(map->height, index);)
            map->height++;
    }
    while (!reaches(map->height, index)) {
        struct page_node *top = xcalloc(1, sizeof(*top));
        top->slots[0] = map->root;
        for (uint32_t mark = 0; mark <= PRESENT; mark++)
            mark_set(top, mark, 0, map->root->marks[mark] != 0);
        mark_set(top, PRESENT, 0, true);
        map->root = top;
        map->height++;
    }
}

void page_tree_insert(struct page_map *map, uint64_t index, struct page *page)
{
    grow(map, index);
    struct page_node *node = map->root;
    for (uint32_t height = map->height; height > 1; height--) {
        uint32_t slot = slot_at(index, height);
        if (!node->slots[slot]) {
            node->slots[slot] = xcalloc(1, sizeof(*node));
            mark_set(node, PRESENT, slot, true);
        }
        node = node->slots[slot];
    }
    uint32_t slot = slot_at(index, 1);
    CHECK(!node->slots[slot]);
    node->slots[slot] = page;
    mark_set(node, PRESENT, slot, true);
}

// The nodes from the root (path[height]) down to the leaf node (path[1]) of an index that is there.
static void find_path(const struct page_map *map, uint64_t index, struct page_node *path[HEIGHT_MAX + 1])
{
    struct page_node *node = map->root;
    for (uint32_t height = map->height; height; height--) {
        CHECK(node != NULL);
        path[height] = node;
        node = node->slots[slot_at(index, height)];
    }
    CHECK(node != NULL);
}

void page_tree_mark(struct page_map *map, uint64_t index, uint32_t flags)
{
    struct page_node *path[HEIGHT_MAX + 1];
    find_path(map, index, path);
    for (uint32_t mark = 0; mark < FLAG_COUNT; mark++) {
        bool on = flags & (1u << mark);
        for (uint32_t height = 1; height <= map->height; height++) {
            uint32_t slot = slot_at(index, height);
            if ((path[height]->marks[mark] >> slot & 1) == on)
                break;              // nothing changes further up
            mark_set(path[height], mark, slot, on);
            on = path[height]->marks[mark] != 0;
        }
    }
}

void page_tree_remove(struct page_map *map, uint64_t index)
{
    struct page_node *path[HEIGHT_MAX + 1];
    page_tree_mark(map, index, 0);
    find_path(map, index, path);
    for (uint32_t height = 1; height <= map->height; height++) {
        uint32_t slot = slot_at(index, height);
        path[height]->slots[slot] = NULL;
        mark_set(path[height], PRESENT, slot, false);
        if (path[height]->marks[PRESENT])
            return;
        free(path[height]);
    }
    map->root = NULL;
    map->height = 0;
}

static uint64_t slots_with(const struct page_node *node, uint32_t flags)
{
    if (!flags)
        return node->marks[PRESENT];
    uint64_t slots = 0;
    for (uint32_t mark = 0; mark < FLAG_COUNT; mark++)
        if (flags & (1u << mark))
            slots |= node->marks[mark];
    return slots;
}

// Recursion is as deep as the tree is high, HEIGHT_MAX at most, and turns back at most once a level.
static struct page *next_below(const struct page_node *node, uint32_t height, uint64_t index, uint32_t flags)
{
    uint32_t first = slot_at(index, height);
    uint64_t slots = slots_with(node, flags) & (~0ull << first);
    for (; slots; slots &= slots - 1) {
        uint32_t slot = (uint32_t)__builtin_ctzll(slots);
        if (height == 1)
            return node->slots[slot];
        struct page *page = next_below(node->slots[slot], height - 1, slot == first ? index : 0, flags);
        if (page)
            return page;
    }
    return NULL;
}

struct page *page_tree_next(const struct page_map *map, uint64_t index, uint32_t flags)
{
    if (!map->root || !reaches(map->height, index))
        return NULL;
    return next_below(map->root, map->height, index, flags);
}
