// SPDX-License-Identifier: MIT
// page_map.h - the radix tree under struct page_map, for page.c alone.
#pragma once

#include "cache/page.h"

struct page *page_tree_find(const struct page_map *map, uint64_t index);
// No page may be there yet; it arrives without flags.
void page_tree_insert(struct page_map *map, uint64_t index, struct page *page);
void page_tree_remove(struct page_map *map, uint64_t index);
// The page at `index` has exactly these flags from now on.
void page_tree_mark(struct page_map *map, uint64_t index, uint32_t flags);
// First page at or after index with any of the flags; 0: any page.
struct page *page_tree_next(const struct page_map *map, uint64_t index, uint32_t flags);
