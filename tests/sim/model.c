// SPDX-License-Identifier: MIT
// model.c - see model.h.
#include "model.h"

#include <string.h>

#include "base/check.h"

#define S_DIR 0040000u
#define FLAG_EXCHANGE 2u

static struct mnode *node_of(const struct model *model, uint32_t id)
{
    CHECK(id < model->node_count);
    return &model->nodes[id];
}

static struct mnode *node_new(struct model *model, uint32_t id)
{
    while (id >= model->node_capacity) {
        uint32_t bigger = model->node_capacity ? model->node_capacity * 2 : 64;
        model->nodes = xrealloc(model->nodes, bigger * sizeof(*model->nodes));
        memset(model->nodes + model->node_capacity, 0, (bigger - model->node_capacity) * sizeof(*model->nodes));
        model->node_capacity = bigger;
    }
    model->node_count = MAX(model->node_count, id + 1);
    model->nodes[id].exists = true;
    return &model->nodes[id];
}

void model_init(struct model *model, uint32_t own_ino, uint32_t shared_ino)
{
    *model = (struct model){0};
    *node_new(model, MODEL_OWN) = (struct mnode){.exists = true, .ino = own_ino, .mode = S_DIR | 0755, .nlink = 2};
    *node_new(model, MODEL_SHARED) = (struct mnode){.exists = true, .ino = shared_ino, .mode = S_DIR | 0755, .nlink = 2};
}

void model_fini(struct model *model)
{
    for (uint32_t i = 0; i < model->node_count; i++)
        free(model->nodes[i].entries);
    free(model->nodes);
}

void model_copy(struct model *to, const struct model *from)
{
    *to = (struct model){.node_count = from->node_count, .node_capacity = from->node_count};
    to->nodes = xcalloc(to->node_capacity, sizeof(*to->nodes));
    memcpy(to->nodes, from->nodes, to->node_count * sizeof(*to->nodes));
    for (uint32_t id = 0; id < to->node_count; id++) {
        struct mnode *node = &to->nodes[id];
        const struct mentry *entries = node->entries;
        node->entries = xcalloc(node->entry_count + 1, sizeof(*entries));
        if (node->entry_count)
            memcpy(node->entries, entries, node->entry_count * sizeof(*entries));
    }
}

bool model_is_dir(const struct model *model, uint32_t node)
{
    return (node_of(model, node)->mode & 0170000) == S_DIR;
}

bool model_is_below(const struct model *model, uint32_t node, uint32_t ancestor)
{
    for (;; node = node_of(model, node)->parent) {
        if (node == ancestor)
            return true;
        if (node == MODEL_OWN || node == MODEL_SHARED)
            return false;
    }
}

struct mentry *model_find(const struct model *model, uint32_t dir, const char *name)
{
    struct mnode *node = node_of(model, dir);
    for (uint32_t i = 0; i < node->entry_count; i++)
        if (strcmp(node->entries[i].name, name) == 0)
            return &node->entries[i];
    return NULL;
}

struct mxattr *model_xattr(const struct model *model, uint32_t id, const char *name)
{
    struct mnode *node = node_of(model, id);
    for (uint32_t i = 0; i < node->xattr_count; i++)
        if (strcmp(node->xattrs[i].name, name) == 0)
            return &node->xattrs[i];
    return NULL;
}

static void entry_add(struct model *model, uint32_t dir, const char *name, uint32_t id)
{
    struct mnode *node = node_of(model, dir);
    node->entries = xrealloc(node->entries, (node->entry_count + 1) * sizeof(*node->entries));
    struct mentry *entry = &node->entries[node->entry_count++];
    memset(entry, 0, sizeof(*entry));
    memcpy(entry->name, name, strlen(name) + 1);
    entry->node = id;
    if (model_is_dir(model, id)) {
        node->nlink++;
        node_of(model, id)->parent = dir;
    }
}

static uint32_t entry_remove(struct model *model, uint32_t dir, const char *name)
{
    struct mnode *node = node_of(model, dir);
    struct mentry *entry = model_find(model, dir, name);
    CHECK(entry);
    uint32_t id = entry->node;
    *entry = node->entries[--node->entry_count];
    if (model_is_dir(model, id))
        node->nlink--;
    return id;
}

static void make(struct model *model, const struct mop *op, uint32_t type, bool linked)
{
    struct mnode *node = node_new(model, op->node);
    *node = (struct mnode){.exists = true, .ino = op->ino, .mode = type | op->mode, .uid = op->uid, .gid = op->gid};
    node->linkable = !linked;
    node->nlink = type == S_DIR ? 2 : linked;
    memcpy(node->target, op->value, sizeof(node->target));
    if (linked)
        entry_add(model, op->parent, op->name, op->node);
}

static void drop_link(struct model *model, uint32_t id)
{
    struct mnode *node = node_of(model, id);
    node->nlink = model_is_dir(model, id) ? 0 : node->nlink - 1;
}

static void rename_apply(struct model *model, const struct mop *op)
{
    struct mentry *target = model_find(model, op->parent2, op->name2);
    uint32_t source_id = model_find(model, op->parent, op->name)->node;
    if (target && target->node == source_id)
        return;                                 // two names of one inode: nothing happens
    if (op->flags & FLAG_EXCHANGE) {
        uint32_t target_id = target->node;
        entry_remove(model, op->parent, op->name);
        entry_remove(model, op->parent2, op->name2);
        entry_add(model, op->parent2, op->name2, source_id);
        entry_add(model, op->parent, op->name, target_id);
        return;
    }
    if (target)
        drop_link(model, entry_remove(model, op->parent2, op->name2));
    entry_remove(model, op->parent, op->name);
    entry_add(model, op->parent2, op->name2, source_id);
}

static void setxattr_apply(struct model *model, const struct mop *op)
{
    struct mnode *node = node_of(model, op->node);
    struct mxattr *xattr = model_xattr(model, op->node, op->name);
    if (!xattr) {
        CHECK(node->xattr_count < ARRAY_LEN(node->xattrs));
        xattr = &node->xattrs[node->xattr_count++];
    }
    memset(xattr, 0, sizeof(*xattr));
    memcpy(xattr->name, op->name, sizeof(xattr->name));
    memcpy(xattr->value, op->value, op->value_size);
    xattr->size = op->value_size;
}

void model_apply(struct model *model, const struct mop *op)
{
    switch (op->kind) {
    case MOP_CREATE: make(model, op, 0100000, true); return;
    case MOP_MKDIR: make(model, op, S_DIR, true); return;
    case MOP_SYMLINK: make(model, op, 0120000, true); return;
    case MOP_MKNOD: make(model, op, 0010000, true); return;
    case MOP_TMPFILE: make(model, op, 0100000, false); return;
    case MOP_LINK:
        entry_add(model, op->parent, op->name, op->node);
        node_of(model, op->node)->nlink++;
        node_of(model, op->node)->linkable = false;
        return;
    case MOP_UNLINK:
    case MOP_RMDIR: drop_link(model, entry_remove(model, op->parent, op->name)); return;
    case MOP_RENAME: rename_apply(model, op); return;
    case MOP_SETATTR: {
        struct mnode *node = node_of(model, op->node);
        if (op->flags & 1)
            node->mode = (node->mode & 0170000) | op->mode;
        if (op->flags & 2) {
            node->uid = op->uid;
            node->gid = op->gid;
        }
        return;
    }
    case MOP_SETXATTR: setxattr_apply(model, op); return;
    case MOP_REMOVEXATTR: {
        struct mnode *node = node_of(model, op->node);
        struct mxattr *gone = model_xattr(model, op->node, op->name);
        *gone = node->xattrs[--node->xattr_count];
        return;
    }
    case MOP_CONTENT: return;                   // only a place in the order
    }
}

void content_init(struct mcontent *content)
{
    *content = (struct mcontent){.count = 1, .capacity = 8};
    content->versions = xcalloc(content->capacity, sizeof(*content->versions));
}

void content_fini(struct mcontent *content)
{
    for (uint32_t i = 0; i < content->count; i++)
        free(content->versions[i].bytes);
    free(content->versions);
    *content = (struct mcontent){0};
}

const struct mversion *content_now(const struct mcontent *content)
{
    return &content->versions[content->count - 1];
}

// A copy of the present as the new present, of at least `size` bytes if extend.
static struct mversion *content_push(struct mcontent *content, uint32_t size)
{
    if (content->count == content->capacity) {
        content->capacity *= 2;
        content->versions = xrealloc(content->versions, content->capacity * sizeof(*content->versions));
    }
    struct mversion *old = &content->versions[content->count - 1], *new = old + 1;
    CHECK(size <= MODEL_FILE_MAX);
    *new = (struct mversion){.bytes = xcalloc(1, size + 1), .size = size};
    memcpy(new->bytes, old->bytes ? old->bytes : new->bytes, MIN(old->size, size));
    content->count++;
    return new;
}

void content_write(struct mcontent *content, uint32_t off, const uint8_t *bytes, uint32_t len)
{
    struct mversion *now = content_push(content, MAX(content_now(content)->size, off + len));
    memcpy(now->bytes + off, bytes, len);
}

void content_resize(struct mcontent *content, uint32_t size)
{
    content_push(content, size);
}

void content_zero(struct mcontent *content, uint32_t off, uint32_t len, bool extend)
{
    uint32_t size = content_now(content)->size;
    struct mversion *now = content_push(content, extend ? MAX(size, off + len) : size);
    if (off < now->size)
        memset(now->bytes + off, 0, MIN(len, now->size - off));
}

void content_durable(struct mcontent *content, uint32_t keep)
{
    for (uint32_t i = 0; i < keep; i++)
        free(content->versions[i].bytes);
    content->count -= keep;
    memmove(content->versions, content->versions + keep, content->count * sizeof(*content->versions));
}

static bool byte_is_allowed(const struct mcontent *content, uint32_t at, uint8_t byte)
{
    for (uint32_t i = 0; i < content->count; i++) {
        const struct mversion *version = &content->versions[i];
        if ((at < version->size ? version->bytes[at] : 0) == byte)
            return true;
    }
    return false;
}

bool content_allows(const struct mcontent *content, const uint8_t *bytes, uint32_t size)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = 0; i < content->count; i++) {
        least = MIN(least, content->versions[i].size);
        most = MAX(most, content->versions[i].size);
    }
    if (size < least || size > most)
        return false;
    for (uint32_t at = 0; at < size; at++)
        if (!byte_is_allowed(content, at, bytes[at]))
            return false;
    return true;
}
