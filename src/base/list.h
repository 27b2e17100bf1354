// SPDX-License-Identifier: MIT
// list.h - an intrusive doubly linked ring. An unlinked node points to itself.
#pragma once

#include "base/types.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *node)
{
    node->next = node->prev = node;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_linked(const struct list *node)
{
    return node->next != node;
}
static inline void list_insert_(struct list *node, struct list *prev, struct list *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}
static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_(node, head, head->next);
}
static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_(node, head->prev, head);
}
// Harmless on a node that is in no list.
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
static inline struct list *list_pop_front(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return NULL;
    list_remove(node);
    return node;
}
// Moves all of `from` to the end of `to`; `from` is empty afterwards.
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

// `node` may be removed in the body of LIST_EACH_SAFE, of LIST_EACH not.
#define LIST_EACH(node, head) for (struct list *node = (head)->next; node != (head); node = node->next)
#define LIST_EACH_SAFE(node, head)                                                                \
    for (struct list *node = (head)->next, *node##_next_ = node->next; node != (head);            \
         node = node##_next_, node##_next_ = node->next)
