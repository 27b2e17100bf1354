// SPDX-License-Identifier: MIT
// htable.c - see htable.h.
#include "base/htable.h"

#include "base/check.h"

#define HTABLE_BITS_MIN 6

// Neighbouring keys (block numbers, inode numbers) are mostly used together: they lie in neighbouring buckets, a
// run of them without a collision. Runs are spread by Fibonacci hashing.
#define RUN_BITS 12

static inline struct hnode **bucket_of(const struct htable *table, uint64_t key)
{
    uint64_t run = ((key >> RUN_BITS) * 0x9e3779b97f4a7c15ull) >> (64 - table->bits);
    uint64_t in_run = key & ((1u << RUN_BITS) - 1);
    return &table->buckets[(run ^ in_run) & ((1ull << table->bits) - 1)];
}

void htable_init(struct htable *table)
{
    *table = (struct htable){.bits = HTABLE_BITS_MIN};
    table->buckets = xcalloc(1ull << table->bits, sizeof(*table->buckets));
}

void htable_fini(struct htable *table)
{
    free(table->buckets);
    *table = (struct htable){0};
}

struct hnode *htable_find(const struct htable *table, uint64_t key)
{
    for (struct hnode *node = *bucket_of(table, key); node; node = node->next)
        if (node->key == key)
            return node;
    return NULL;
}

static void htable_grow(struct htable *table)
{
    struct htable bigger = {.bits = table->bits + 1, .count = table->count};
    bigger.buckets = xcalloc(1ull << bigger.bits, sizeof(*bigger.buckets));
    HTABLE_EACH(node, table) {
        struct hnode **bucket = bucket_of(&bigger, node->key);
        node->next = *bucket;
        *bucket = node;
    }
    free(table->buckets);
    *table = bigger;
}

void htable_insert(struct htable *table, struct hnode *node, uint64_t key)
{
    CHECK(!htable_find(table, key));
    if (table->count >> table->bits)
        htable_grow(table);
    struct hnode **bucket = bucket_of(table, key);
    *node = (struct hnode){.next = *bucket, .key = key};
    *bucket = node;
    table->count++;
}

void htable_remove(struct htable *table, struct hnode *node)
{
    for (struct hnode **at = bucket_of(table, node->key); *at; at = &(*at)->next) {
        if (*at == node) {
            *at = node->next;
            table->count--;
            return;
        }
    }
    CHECK(!"the node is in the table");
}
