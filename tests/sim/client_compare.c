// SPDX-License-Identifier: MIT
// client_compare.c - is what the volume shows what the client knows? Exactly, after an answer, a server's death or a
// clean unmount; or, after a power cut, what some prefix of its operations gave.
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "client_internal.h"

struct listing {
    struct client *client;
    const struct model *model;
    uint32_t dir, seen, wrong;
    uint64_t cookie;
    uint32_t room;                      // entries until the "buffer" is full
    char why[256];
};

static bool list_one(void *arg, const struct ops_dirent *entry)
{
    struct listing *list = arg;
    char name[MODEL_NAME_MAX] = {0}, prefix[16];
    if (list->room == 0)
        return false;
    list->room--;
    list->cookie = entry->next_cookie;
    memcpy(name, entry->name.bytes, MIN(entry->name.len, sizeof(name) - 1));
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    int len = snprintf(prefix, sizeof(prefix), "c%u-", list->client->number);
    if (list->dir == MODEL_SHARED && strncmp(name, prefix, (size_t)len) != 0)
        return true;
    struct mentry *found = model_find(list->model, list->dir, name);
    if (!found || list->model->nodes[found->node].ino != entry->ino) {
        if (!list->wrong++)
            snprintf(list->why, sizeof(list->why), "directory node %u has %.40s as inode %u, expected %d", list->dir, name,
                     entry->ino, found ? (int)list->model->nodes[found->node].ino : -1);
    } else {
        list->seen++;
    }
    return true;
}

// The disk errs, so an error proves nothing.
static bool excused(struct client *client, int64_t rc)
{
    if (rc != -EIO || !client->faults)
        return false;
    return client->gave_up = true;
}

static bool list_all(struct listing *list)
{
    struct mnode *dir = &list->model->nodes[list->dir];
    for (;;) {
        uint64_t before = list->cookie;
        list->room = 7;
        int rc = ops_readdir(list->client->world->ops, dir->ino, list->cookie, false, list_one, list);
        if (excused(list->client, rc))
            return true;
        if (rc < 0) {
            snprintf(list->why, sizeof(list->why), "directory node %u cannot be read", list->dir);
            return false;
        }
        if (list->room == 7 || list->cookie == before)
            break;
    }
    if (!list->wrong && list->seen != dir->entry_count) {
        list->wrong++;
        snprintf(list->why, sizeof(list->why), "directory node %u shows %u of %u names", list->dir, list->seen, dir->entry_count);
    }
    return !list->wrong;
}

static int32_t xattr_count(struct ops *ops, uint32_t ino)
{
    char names[1024];
    int32_t count = 0;
    ssize_t len = ops_listxattr(ops, ino, names, sizeof(names));
    if (len < 0)
        return (int32_t)len;
    for (ssize_t i = 0; i < len; i++)
        count += names[i] == '\0';
    return count;
}

static bool seen_equals(const struct mnode *n, const struct ops_attr *attr)
{
    struct mseen now;
    seen_fill(&now, attr);
    return !n->seen.known || (now.generation == n->seen.generation && memcmp(now.sec, n->seen.sec, sizeof(now.sec)) == 0 &&
                              memcmp(now.nsec, n->seen.nsec, sizeof(now.nsec)) == 0);
}

static void say_times(const struct mnode *n, const struct ops_attr *attr, uint32_t id, char *why, size_t why_size)
{
    struct mseen now;
    seen_fill(&now, attr);
    int len = snprintf(why, why_size, "node %u inode %u: generation %u %u; now and expected:", id, n->ino, now.generation, n->seen.generation);
    for (uint32_t i = 0; i < 4 && len > 0 && (size_t)len < why_size; i++)
        if (now.sec[i] != n->seen.sec[i] || now.nsec[i] != n->seen.nsec[i])
            len += snprintf(why + len, why_size - (size_t)len, " %ctime %lld.%09u %lld.%09u", "amcb"[i], (long long)now.sec[i],
                            now.nsec[i], (long long)n->seen.sec[i], n->seen.nsec[i]);
}

// One node's attributes, and below directories all of it. `why` tells the first difference.
static bool tree_equals(struct client *client, const struct model *model, uint32_t id, char *why, size_t why_size)
{
    const struct mnode *n = &model->nodes[id];
    struct ops *ops = client->world->ops;
    struct ops_attr attr;
    int rc = ops_getattr(ops, n->ino, &attr);
    if (excused(client, rc))
        return true;
    if (rc < 0) {
        snprintf(why, why_size, "node %u inode %u: getattr %d", id, n->ino, rc);
        return false;
    }
    bool roots = id <= MODEL_SHARED;
    if (model == &client->now && !seen_equals(n, &attr)) {
        say_times(n, &attr, id, why, why_size);
        return false;
    }
    if (model == &client->now && client->content[id].count && !client->faults && attr.size != content_now(&client->content[id])->size) {
        snprintf(why, why_size, "node %u inode %u: size %llu, expected %u", id, n->ino, (unsigned long long)attr.size,
                 content_now(&client->content[id])->size);
        return false;
    }
    if (!roots && (attr.mode != n->mode || attr.uid != n->uid || attr.gid != n->gid || attr.nlink != n->nlink)) {
        snprintf(why, why_size, "node %u inode %u: mode %o %o, owner %u %u, group %u %u, links %u %u", id, n->ino, attr.mode, n->mode,
                 attr.uid, n->uid, attr.gid, n->gid, attr.nlink, n->nlink);
        return false;
    }
    for (uint32_t i = 0; i < n->xattr_count; i++) {
        char value[256];
        ssize_t got = ops_getxattr(ops, n->ino, n->xattrs[i].name, value, sizeof(value));
        if (excused(client, got))
            return true;
        if (got != (ssize_t)n->xattrs[i].size || memcmp(value, n->xattrs[i].value, (size_t)got) != 0) {
            snprintf(why, why_size, "node %u inode %u: attribute %s", id, n->ino, n->xattrs[i].name);
            return false;
        }
    }
    int32_t count = xattr_count(ops, n->ino);
    if (excused(client, count))
        return true;
    if (count != (int32_t)n->xattr_count) {
        snprintf(why, why_size, "node %u inode %u: number of attributes", id, n->ino);
        return false;
    }
    if ((n->mode & 0170000) == S_IFLNK) {
        char target[256] = {0};
        if (model == &client->now)
            seen_unsure(client, id);
        ssize_t got = ops_readlink(ops, n->ino, target, sizeof(target));
        if (excused(client, got))
            return true;
        if (got != (ssize_t)strlen(n->target) || memcmp(target, n->target, (size_t)got) != 0) {
            snprintf(why, why_size, "node %u inode %u: symlink target", id, n->ino);
            return false;
        }
    }
    if ((n->mode & 0170000) != S_DIR)
        return true;
    struct listing list = {.client = client, .model = model, .dir = id};
    if (model == &client->now)
        seen_unsure(client, id);
    if (!list_all(&list)) {
        snprintf(why, why_size, "%s", list.why);
        return false;
    }
    if (model == &client->now && id != MODEL_SHARED)
        client_look(client, id);
    for (uint32_t i = 0; i < n->entry_count; i++)
        if (!tree_equals(client, model, n->entries[i].node, why, why_size))
            return false;
    return true;
}

static bool roots_equal(struct client *client, const struct model *model, char *why, size_t why_size)
{
    return tree_equals(client, model, MODEL_OWN, why, why_size) && tree_equals(client, model, MODEL_SHARED, why, why_size);
}

static bool file_equals(struct client *client, uint32_t id)
{
    seen_unsure(client, id);
    if (!client_read_equals(client, id, 0, MODEL_FILE_MAX))
        return false;
    client_look(client, id);
    return true;
}

// The open ones that have no name are there as well.
static bool held_equal(struct client *client, char *why, size_t why_size)
{
    for (size_t i = 0; i < ARRAY_LEN(client->open); i++)
        if (client->open[i] && !node(client, client->open[i])->nlink && !tree_equals(client, &client->now, client->open[i], why, why_size))
            return false;
    return true;
}

bool client_compare(struct client *client)
{
    char why[256];
    if (client->gave_up)
        return true;
    if (!roots_equal(client, &client->now, why, sizeof(why)) || !held_equal(client, why, sizeof(why))) {
        client_fail(client, "compare: %s", why);
        return false;
    }
    for (uint32_t id = 0; id < client->now.node_count; id++)
        if (client->content[id].count && (node(client, id)->nlink || is_held(client, id)) && !client->gave_up && !file_equals(client, id))
            return client->gave_up;
    return true;
}

// After a crash: adopts what the volume holds of a file, if it is one of the things it may hold.
static bool adopt_content(struct client *client, uint32_t id)
{
    AUTO_FREE uint8_t *out = xblocks(MODEL_FILE_MAX / BLOCK_BYTES + 1);
    ssize_t got = ops_read(client->world->ops, node(client, id)->ino, 0, MODEL_FILE_MAX, out);
    if (got < 0 || !content_allows(&client->content[id], out, (uint32_t)got)) {
        client_fail(client, "after the crash node %u inode %u holds %lld bytes that it never held (%u versions, sizes %u to %u)", id,
                    node(client, id)->ino, (long long)got, client->content[id].count, client->content[id].versions[0].size,
                    content_now(&client->content[id])->size);
        return false;
    }
    struct mcontent fresh;
    content_init(&fresh);
    content_resize(&fresh, (uint32_t)got);
    memcpy(fresh.versions[1].bytes, out, (size_t)got);
    content_durable(&fresh, 1);
    content_fini(&client->content[id]);
    client->content[id] = fresh;
    return true;
}

bool client_recover(struct client *client)
{
    char why[256];
    bool is_pending = client->task.kind != TASK_NONE && client->task.changes && client->task.wanted >= 0;
    uint32_t count = client->log_count + is_pending;
    if (is_pending && client->task.kind == TASK_MAKE) {
        // The number of an inode whose making was never answered is learnt from the volume.
        struct mop *op = &client->task.op;
        struct ops_attr attr;
        if (op->kind == MOP_TMPFILE || ops_lookup(client->world->ops, node(client, op->parent)->ino, name_of(op->name), &attr) < 0) {
            count--;
        } else {
            op->ino = attr.ino;
            forget(client, attr.ino);
        }
    }
    // On a copy, as the server may die meanwhile and all of this begin again.
    struct model found;
    model_copy(&found, &client->base);
    for (uint32_t prefix = 0; ; prefix++) {
        if (roots_equal(client, &found, why, sizeof(why))) {
            client_say(client, "recovered after %u of %u operations", prefix, count);
            break;
        }
        if (prefix == count) {
            client_fail(client, "after the crash no prefix of %u operations fits; the longest: %s", count, why);
            return false;
        }
        model_apply(&found, prefix < client->log_count ? &client->log[prefix] : &client->task.op);
    }
    // What is found is the new beginning.
    model_fini(&client->base);
    model_fini(&client->now);
    client->base = found;
    model_copy(&client->now, &found);
    client->log_count = 0;
    client_task_fini(client);
    client->gave_up = false;
    memset(client->open, 0, sizeof(client->open));
    for (uint32_t id = 0; id < CLIENT_NODES_MAX; id++) {
        if (!client->content[id].count)
            continue;
        if (id >= client->now.node_count || !node(client, id)->exists || !node(client, id)->nlink)
            content_fini(&client->content[id]);
        else if (!adopt_content(client, id))
            return false;
    }
    // A file whose making was durable but never answered starts empty.
    for (uint32_t id = 0; id < client->now.node_count; id++)
        if (is_file(client, id) && node(client, id)->nlink && !client->content[id].count)
            content_init(&client->content[id]);
    for (uint32_t id = 0; id < client->now.node_count; id++) {
        seen_unsure(client, id);
        if (id != MODEL_SHARED)
            client_look(client, id);
    }
    return true;
}
