// SPDX-License-Identifier: MIT
// heap.h - an intrusive min-heap: the timers of a worker, and the simulator's order of turns.
//
// Equal keys leave in the order they came, so that a run does not depend on the heap's shape.
#pragma once

#include "base/types.h"

struct heap_node {
    uint64_t key, seq;
    uint32_t place;         // index in the heap plus one; 0 while in no heap
};

struct heap {
    struct heap_node **nodes;
    uint32_t count, room;
    uint64_t seq;           // of the next node
};

void heap_fini(struct heap *heap);      // nodes are the caller's; a zeroed heap is an empty one
void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key);
// Harmless on a node that is in no heap.
void heap_remove(struct heap *heap, struct heap_node *node);
// The node of the smallest key, or NULL.
static inline struct heap_node *heap_min(const struct heap *heap)
{
    return heap->count ? heap->nodes[0] : NULL;
}
