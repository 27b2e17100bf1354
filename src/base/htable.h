// SPDX-License-Identifier: MIT
// htable.h - an intrusive hash table from a 64-bit key to the node that carries it.
//
// The table owns its bucket array only. Keys are unique: inserting a key twice is a CHECK.
// It doubles when it holds more nodes than buckets, so a lookup is constant time on average.
#pragma once

#include "base/types.h"

struct hnode {
    struct hnode *next;
    uint64_t key;
};

struct htable {
    struct hnode **buckets;
    uint32_t bits;          // log2 of the number of buckets
    uint64_t count;
};

void htable_init(struct htable *table);
void htable_fini(struct htable *table);         // nodes are the caller's
struct hnode *htable_find(const struct htable *table, uint64_t key);
void htable_insert(struct htable *table, struct hnode *node, uint64_t key);
void htable_remove(struct htable *table, struct hnode *node);

// Visits every node, in no promised order; `node` may be removed in the body.
#define HTABLE_EACH(node, table)                                                                  \
    for (uint64_t node##_b_ = 0; node##_b_ < (1ull << (table)->bits); node##_b_++)                \
        for (struct hnode *node = (table)->buckets[node##_b_], *node##_next_;                     \
             node && ((node##_next_ = node->next), 1); node = node##_next_)
