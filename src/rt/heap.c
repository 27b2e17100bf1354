// SPDX-License-Identifier: MIT
// heap.c - see heap.h.
#include "rt/heap.h"

#include "base/check.h"

#define HEAP_ROOM_MIN 64u

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void put(struct heap *heap, uint32_t at, struct heap_node *node)
{
    heap->nodes[at] = node;
    node->place = at + 1;
}

static void sift_up(struct heap *heap, uint32_t at, struct heap_node *node)
{
    while (at && before(node, heap->nodes[(at - 1) / 2])) {
        put(heap, at, heap->nodes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(heap, at, node);
}

static void sift_down(struct heap *heap, uint32_t at, struct heap_node *node)
{
    for (uint32_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && before(heap->nodes[child + 1], heap->nodes[child]))
            child++;
        if (!before(heap->nodes[child], node))
            break;
        put(heap, at, heap->nodes[child]);
    }
    put(heap, at, node);
}

void heap_fini(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key)
{
    CHECK(!node->place);
    if (heap->count == heap->room) {
        heap->room = MAX(heap->room * 2, HEAP_ROOM_MIN);
        heap->nodes = xrealloc(heap->nodes, heap->room * sizeof(*heap->nodes));
    }
    node->key = key;
    node->seq = heap->seq++;
    sift_up(heap, heap->count++, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (!node->place)
        return;
    uint32_t at = node->place - 1;
    CHECK(at < heap->count && heap->nodes[at] == node);
    struct heap_node *last = heap->nodes[--heap->count];
    node->place = 0;
    if (last == node)
        return;
    // The last node fills the gap; it may belong above it as well as below.
    if (at && before(last, heap->nodes[(at - 1) / 2]))
        sift_up(heap, at, last);
    else
        sift_down(heap, at, last);
}
