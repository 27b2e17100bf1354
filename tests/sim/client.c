// SPDX-License-Identifier: MIT
// client.c - random operations and the answers that they must get.
#include "client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

#define S_DIR 0040000u

static uint32_t draw(struct client *client, uint32_t below)
{
    // splitmix64: the client's own chance, apart from that of the world.
    uint64_t z = (client->random += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

static void client_fail(struct client *client, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void client_fail(struct client *client, const char *fmt, ...)
{
    if (client->failed)
        return;
    va_list args;
    va_start(args, fmt);
    int len = snprintf(client->story, sizeof(client->story), "client %u: ", client->number);
    vsnprintf(client->story + len, sizeof(client->story) - (size_t)len, fmt, args);
    va_end(args);
    client->failed = true;
}

static void say(struct client *client, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct client *client, const char *fmt, ...)
{
    if (!client->verbose)
        return;
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "  client %u at %.6f: ", client->number, (double)rt_now_ns(client->world->rt) / 1e9);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

static struct ops_name name_of(const char *text)
{
    return (struct ops_name){.bytes = text, .len = strlen(text)};
}

static struct mnode *node(struct client *client, uint32_t id)
{
    return &client->now.nodes[id];
}

static bool is_file(struct client *client, uint32_t id)
{
    return (node(client, id)->mode & 0170000) == 0100000;
}

// --- the order of operations --------------------------------------------------------------------

static void log_push(struct client *client, const struct mop *op)
{
    if (client->log_count == client->log_capacity) {
        client->log_capacity = client->log_capacity ? client->log_capacity * 2 : 64;
        client->log = xrealloc(client->log, client->log_capacity * sizeof(*client->log));
    }
    client->log[client->log_count++] = *op;
    model_apply(&client->now, op);
}

static void log_durable(struct client *client, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        model_apply(&client->base, &client->log[i]);
    client->log_count -= count;
    if (client->log_count)
        memmove(client->log, client->log + count, client->log_count * sizeof(*client->log));
}

void client_all_durable(struct client *client)
{
    log_durable(client, client->log_count);
    for (uint32_t id = 0; id < client->now.node_count; id++)
        if (client->content[id].count)
            content_durable(&client->content[id], client->content[id].count - 1);
}

// The last operation of the log that changed the inode, counted from 1; 0: none.
static uint32_t log_last_of(struct client *client, uint32_t id)
{
    for (uint32_t i = client->log_count; i > 0; i--) {
        const struct mop *op = &client->log[i - 1];
        if (op->node == id && op->kind != MOP_UNLINK && op->kind != MOP_RMDIR && op->kind != MOP_RENAME)
            return i;
    }
    return 0;
}

void client_init(struct client *client, struct world *world, uint32_t number, uint64_t seed, uint32_t own_ino, uint32_t shared_ino)
{
    *client = (struct client){.world = world, .number = number, .random = seed};
    model_init(&client->now, own_ino, shared_ino);
    model_init(&client->base, own_ino, shared_ino);
}

void client_fini(struct client *client)
{
    for (uint32_t id = 0; id < CLIENT_NODES_MAX; id++)
        if (client->content[id].count)
            content_fini(&client->content[id]);
    model_fini(&client->now);
    model_fini(&client->base);
    free(client->log);
}

// --- choosing -----------------------------------------------------------------------------------

static uint32_t pick_dir(struct client *client)
{
    for (int tries = 0; tries < 8; tries++) {
        uint32_t id = draw(client, client->now.node_count);
        if (node(client, id)->exists && node(client, id)->nlink && model_is_dir(&client->now, id))
            return id;
    }
    return draw(client, 2);
}

// Few short names, so that operations meet; now and then a long one, so that blocks fill.
static void pick_name(struct client *client, char *out)
{
    int len = snprintf(out, MODEL_NAME_MAX, "c%u-%u", client->number, draw(client, 24));
    if (draw(client, 6) == 0) {
        int wanted = 40 + (int)draw(client, 200);
        memset(out + len, 'x', (size_t)wanted);
        out[len + wanted] = '\0';
    }
}

static uint32_t pick_node(struct client *client, bool want_file)
{
    for (int tries = 0; tries < 12; tries++) {
        uint32_t id = draw(client, client->now.node_count);
        struct mnode *n = node(client, id);
        bool held = false;
        for (size_t i = 0; i < ARRAY_LEN(client->open); i++)
            held |= client->open[i] == id && id;
        if (n->exists && (n->nlink || held) && id > MODEL_SHARED && (!want_file || is_file(client, id)))
            return id;
    }
    return 0;
}

static bool expect(struct client *client, const char *what, int64_t got, int64_t wanted)
{
    say(client, "%s -> %lld", what, (long long)got);
    if (got == wanted)
        return true;
    client_fail(client, "%s answered %lld, expected %lld", what, (long long)got, (long long)wanted);
    return false;
}

// --- namespace ------------------------------------------------------------------------------------

static void forget(struct client *client, uint32_t ino)
{
    ops_forget(client->world->ops, ino, 1);
}

static bool begin(struct client *client, const struct mop *op)
{
    client->pending = *op;
    client->is_pending = true;
    return true;
}

// The answer is here; when it was success the model follows.
static bool end(struct client *client, const struct mop *op, const char *what, int rc, int wanted)
{
    client->is_pending = false;
    // A full volume may refuse anything that needs space; then nothing has happened.
    if (rc == -ENOSPC && wanted == 0)
        return false;
    if (!expect(client, what, rc, wanted) || rc != 0)
        return false;
    log_push(client, op);
    return true;
}

static void check_new(struct client *client, const struct ops_attr *attr, const struct mop *op)
{
    for (uint32_t id = 0; id < client->now.node_count; id++) {
        struct mnode *n = node(client, id);
        if (n->exists && n->nlink && n->ino == attr->ino)
            client_fail(client, "new inode %u is in use as node %u", attr->ino, id);
    }
    if ((attr->mode & 07777) != op->mode)
        client_fail(client, "new inode %u has mode %o, asked for %o", attr->ino, attr->mode, op->mode);
}

static void do_make(struct client *client)
{
    static const enum mop_kind kinds[] = {MOP_CREATE, MOP_CREATE, MOP_CREATE, MOP_MKDIR, MOP_MKDIR, MOP_SYMLINK, MOP_MKNOD, MOP_TMPFILE};
    struct mop op = {.kind = kinds[draw(client, ARRAY_LEN(kinds))], .parent = pick_dir(client), .node = client->now.node_count};
    struct ops_caller caller = {.uid = draw(client, 3) * 1000, .gid = draw(client, 3) * 1000};
    struct ops_attr attr = {0};
    struct ops *ops = client->world->ops;
    bool created = true;

    if (op.node >= CLIENT_NODES_MAX)
        return;
    op.uid = caller.uid;
    op.gid = caller.gid;
    op.mode = op.kind == MOP_SYMLINK ? 0777 : 0600 | draw(client, 0200);
    pick_name(client, op.name);
    if (op.kind == MOP_SYMLINK)
        op.value_size = (uint32_t)snprintf(op.value, sizeof(op.value), "%0*u", (int)(1 + draw(client, 200)), op.node);
    int wanted = op.kind != MOP_TMPFILE && model_find(&client->now, op.parent, op.name) ? -EEXIST : 0;
    uint32_t parent = node(client, op.parent)->ino;
    int rc = 0;

    begin(client, &op);
    switch (op.kind) {
    case MOP_CREATE: rc = ops_create(ops, &caller, parent, name_of(op.name), (uint16_t)op.mode, true, &attr, &created); break;
    case MOP_MKDIR: rc = ops_mkdir(ops, &caller, parent, name_of(op.name), (uint16_t)op.mode, &attr); break;
    case MOP_SYMLINK: rc = ops_symlink(ops, &caller, parent, name_of(op.name), name_of(op.value), &attr); break;
    case MOP_MKNOD: rc = ops_mknod(ops, &caller, parent, name_of(op.name), (uint16_t)(S_IFIFO | op.mode), 0, 0, &attr); break;
    default: rc = ops_tmpfile(ops, &caller, parent, (uint16_t)op.mode, &attr); break;
    }
    op.ino = attr.ino;
    if (rc == 0)
        check_new(client, &attr, &op);
    if (!end(client, &op, "make", rc, wanted))
        return;
    say(client, "  node %u is inode %u, %s in %u", op.node, op.ino, op.name, op.parent);
    if (op.kind == MOP_CREATE || op.kind == MOP_TMPFILE)
        content_init(&client->content[op.node]);
    // Some are kept open; a temporary file lives only while it is.
    uint32_t slot = draw(client, ARRAY_LEN(client->open));
    if ((op.kind == MOP_TMPFILE || (op.kind == MOP_CREATE && draw(client, 4) == 0)) && !client->open[slot])
        client->open[slot] = op.node;
    else
        forget(client, attr.ino);
}

static void do_close(struct client *client)
{
    uint32_t *slot = &client->open[draw(client, ARRAY_LEN(client->open))];
    if (!*slot)
        return;
    forget(client, node(client, *slot)->ino);
    *slot = 0;
}

static void do_link(struct client *client)
{
    struct mop op = {.kind = MOP_LINK, .parent = pick_dir(client), .node = pick_node(client, false)};
    struct ops_attr attr = {0};
    // A name of a file without any is the O_TMPFILE case only; keep to those that have one.
    if (!op.node || model_is_dir(&client->now, op.node) || !node(client, op.node)->nlink)
        return;
    pick_name(client, op.name);
    int wanted = model_find(&client->now, op.parent, op.name) ? -EEXIST : 0;
    begin(client, &op);
    int rc = ops_link(client->world->ops, node(client, op.node)->ino, node(client, op.parent)->ino, name_of(op.name), &attr);
    if (end(client, &op, "link", rc, wanted))
        forget(client, attr.ino);
}

static void do_unlink(struct client *client)
{
    struct mop op = {.kind = draw(client, 4) ? MOP_UNLINK : MOP_RMDIR, .parent = pick_dir(client)};
    pick_name(client, op.name);
    struct mnode *dir = node(client, op.parent);
    if (dir->entry_count && draw(client, 4))
        memcpy(op.name, dir->entries[draw(client, dir->entry_count)].name, sizeof(op.name));

    struct mentry *entry = model_find(&client->now, op.parent, op.name);
    bool is_dir = entry && model_is_dir(&client->now, entry->node);
    int wanted = !entry ? -ENOENT
        : op.kind == MOP_UNLINK ? (is_dir ? -EISDIR : 0)
        : !is_dir ? -ENOTDIR : node(client, entry->node)->entry_count ? -ENOTEMPTY : 0;
    op.node = entry ? entry->node : 0;
    begin(client, &op);
    int rc = op.kind == MOP_UNLINK ? ops_unlink(client->world->ops, dir->ino, name_of(op.name))
                                   : ops_rmdir(client->world->ops, dir->ino, name_of(op.name));
    end(client, &op, op.kind == MOP_UNLINK ? "unlink" : "rmdir", rc, wanted);
}

static int rename_wanted(struct client *client, const struct mop *op)
{
    struct mentry *from = model_find(&client->now, op->parent, op->name);
    struct mentry *to = model_find(&client->now, op->parent2, op->name2);
    struct model *model = &client->now;
    if (!from)
        return -ENOENT;
    bool from_dir = model_is_dir(model, from->node), to_dir = to && model_is_dir(model, to->node);
    if (from_dir && model_is_below(model, op->parent2, from->node))
        return -EINVAL;
    if (op->flags == 2) {
        if (!to)
            return -ENOENT;
        return to_dir && model_is_below(model, op->parent, to->node) ? -EINVAL : 0;
    }
    if (!to)
        return 0;
    if (op->flags == 1)
        return -EEXIST;
    if (from->node == to->node)
        return 0;
    if (to_dir && model_is_below(model, op->parent, to->node))
        return from_dir ? -ENOTEMPTY : -EISDIR;
    if (from_dir != to_dir)
        return to_dir ? -EISDIR : -ENOTDIR;
    return to_dir && node(client, to->node)->entry_count ? -ENOTEMPTY : 0;
}

static void do_rename(struct client *client)
{
    struct mop op = {.kind = MOP_RENAME, .parent = pick_dir(client), .parent2 = pick_dir(client), .flags = draw(client, 8)};
    if (op.flags > 2)
        op.flags = 0;
    struct mnode *dir = node(client, op.parent);
    pick_name(client, op.name);
    pick_name(client, op.name2);
    if (dir->entry_count && draw(client, 8))
        memcpy(op.name, dir->entries[draw(client, dir->entry_count)].name, sizeof(op.name));
    struct mentry *from = model_find(&client->now, op.parent, op.name);
    op.node = from ? from->node : 0;
    int wanted = rename_wanted(client, &op);
    begin(client, &op);
    int rc = ops_rename(client->world->ops, &(struct ops_caller){0}, dir->ino, name_of(op.name),
                        node(client, op.parent2)->ino, name_of(op.name2), op.flags);
    // Which of two true reasons the kernel's order of checks names first is not the point here.
    if (wanted < 0 && rc < 0 && (wanted == -EINVAL || wanted == -ENOTEMPTY || wanted == -EISDIR || wanted == -EEXIST))
        rc = wanted;
    end(client, &op, "rename", rc, wanted);
}

// --- attributes ---------------------------------------------------------------------------------

static void do_setattr(struct client *client)
{
    struct mop op = {.kind = MOP_SETATTR, .node = pick_node(client, false), .flags = 1 + draw(client, 3)};
    struct ops_setattr set = {0};
    struct ops_attr attr;
    if (!op.node || (node(client, op.node)->mode & 0170000) == S_IFLNK)
        return;
    op.mode = set.mode = draw(client, 01000);
    op.uid = set.uid = draw(client, 100000);
    op.gid = set.gid = draw(client, 100000);
    set.set = (op.flags & 1 ? OPS_SET_MODE : 0) | (op.flags & 2 ? OPS_SET_UID | OPS_SET_GID : 0);
    begin(client, &op);
    end(client, &op, "setattr", ops_setattr(client->world->ops, &(struct ops_caller){0}, node(client, op.node)->ino, &set, &attr), 0);
}

static void do_xattr(struct client *client)
{
    struct mop op = {.kind = draw(client, 3) ? MOP_SETXATTR : MOP_REMOVEXATTR, .node = pick_node(client, false)};
    if (!op.node || (node(client, op.node)->mode & 0170000) == S_IFLNK || (node(client, op.node)->mode & 0170000) == S_IFIFO)
        return;
    snprintf(op.name, sizeof(op.name), "user.attr%u", draw(client, 6));
    bool has = model_xattr(&client->now, op.node, op.name);
    uint32_t ino = node(client, op.node)->ino;
    begin(client, &op);
    if (op.kind == MOP_REMOVEXATTR) {
        end(client, &op, "removexattr", ops_removexattr(client->world->ops, ino, op.name), has ? 0 : -ENODATA);
        return;
    }
    op.value_size = draw(client, sizeof(op.value));
    for (uint32_t i = 0; i < op.value_size; i++)
        op.value[i] = (char)draw(client, 256);
    client->pending = op;
    end(client, &op, "setxattr", ops_setxattr(client->world->ops, ino, op.name, op.value, op.value_size, 0, false), 0);
}

// --- content ------------------------------------------------------------------------------------

// The versions that a crash may bring back include the one under way, so it is pushed before the
// question is asked, and taken back when the answer is an error.
static void content_pop(struct client *client, uint32_t id)
{
    struct mcontent *content = &client->content[id];
    free(content->versions[--content->count].bytes);
}

static void content_end(struct client *client, struct mop *op, const char *what, int64_t rc, int64_t wanted)
{
    client->pending_content = 0;
    if (rc == -EOPNOTSUPP && !client->world->fs->geo.has_extents) {
        // Indirect blocks know no unwritten ones, so ext4 answers the same.
        content_pop(client, op->node);
        client->is_pending = false;
        return;
    }
    if (rc == -ENOSPC) {
        // Part of it may have been done.
        return client_fail(client, "%s: the simulated volume is large enough", what);
    }
    if (rc < 0)
        content_pop(client, op->node);
    end(client, op, what, (int)(rc == wanted ? 0 : rc), 0);
}

static void do_write(struct client *client)
{
    static uint8_t bytes[32768];
    uint32_t id = pick_node(client, true);
    if (!id)
        return;
    struct mop op = {.kind = MOP_CONTENT, .node = id};
    struct mcontent *content = &client->content[id];
    uint32_t size = content_now(content)->size;
    uint32_t len = 1 + draw(client, draw(client, 3) ? 5000 : sizeof(bytes) - 1);
    uint32_t off = draw(client, 3) ? size : draw(client, MODEL_FILE_MAX / 2);
    if (draw(client, 4) == 0) {
        off &= ~4095u;
        len = (len + 4095) & ~4095u;
        len = MIN(len, (uint32_t)sizeof(bytes));
    }
    if (off + len > MODEL_FILE_MAX)
        return;
    uint8_t tag = (uint8_t)(1 + draw(client, 255));
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(tag + i / 7);
    uint8_t *own = xmalloc(len);        // other clients use the static one while this one waits
    memcpy(own, bytes, len);
    content_write(content, off, own, len);
    client->pending_content = id;
    begin(client, &op);
    struct ops_write write = {.off = off, .bytes = own, .len = len};
    int64_t rc = ops_write(client->world->ops, node(client, id)->ino, &write);
    say(client, "  write node %u off %u len %u", id, off, len);
    content_end(client, &op, "write", rc, len);
    free(own);
}

static void do_shape(struct client *client)
{
    uint32_t id = pick_node(client, true), how = draw(client, 5);
    if (!id)
        return;
    struct mop op = {.kind = MOP_CONTENT, .node = id};
    struct mcontent *content = &client->content[id];
    uint32_t size = content_now(content)->size, ino = node(client, id)->ino;
    uint32_t off = draw(client, size + 10000), len = 1 + draw(client, 40000);
    struct ops *ops = client->world->ops;
    struct ops_attr attr;
    off = MIN(off, MODEL_FILE_MAX - len);
    say(client, "  shape node %u how %u off %u len %u size %u", id, how, off, len, size);
    client->pending_content = id;
    begin(client, &op);
    switch (how) {
    case 0: {
        struct ops_setattr set = {.set = OPS_SET_SIZE, .size = off};
        content_resize(content, off);
        content_end(client, &op, "truncate", ops_setattr(ops, &(struct ops_caller){0}, ino, &set, &attr), 0);
        return;
    }
    case 1:
        content_resize(content, MAX(size, off + len));
        content_end(client, &op, "fallocate", ops_fallocate(ops, ino, 0, off, len), 0);
        return;
    case 2:
        content_resize(content, size);
        content_end(client, &op, "fallocate keep-size", ops_fallocate(ops, ino, 1, off, len), 0);
        return;
    case 3:
        content_zero(content, off, len, false);
        content_end(client, &op, "punch hole", ops_fallocate(ops, ino, 3, off, len), 0);
        return;
    default:
        content_zero(content, off, len, true);
        content_end(client, &op, "zero range", ops_fallocate(ops, ino, 0x10, off, len), 0);
        return;
    }
}

static bool read_equals(struct client *client, uint32_t id, uint32_t off, uint32_t len)
{
    const struct mversion *now = content_now(&client->content[id]);
    uint32_t have = off < now->size ? MIN(len, now->size - off) : 0;
    AUTO_FREE uint8_t *out = xblocks(len / BLOCK_BYTES + 2);
    ssize_t got = ops_read(client->world->ops, node(client, id)->ino, off, len, out);
    if (!expect(client, "read", got, have))
        return false;
    for (uint32_t i = 0; i < have; i++) {
        if (out[i] != now->bytes[off + i]) {
            client_fail(client, "node %u inode %u byte %u of %u is %u, expected %u", id, node(client, id)->ino,
                        off + i, now->size, out[i], now->bytes[off + i]);
            return false;
        }
    }
    return true;
}

static void do_read(struct client *client)
{
    uint32_t id = pick_node(client, true);
    if (id)
        read_equals(client, id, draw(client, MODEL_FILE_MAX / 2), 1 + draw(client, 60000));
}

// --- durability -----------------------------------------------------------------------------------

static void do_fsync(struct client *client)
{
    uint32_t id = pick_node(client, true);
    if (!id)
        return;
    uint32_t version = client->content[id].count - 1, ops_before = log_last_of(client, id);
    bool datasync = draw(client, 3) == 0;
    if (!expect(client, "fsync", ops_fsync(client->world->ops, node(client, id)->ino, datasync), 0))
        return;
    say(client, "  fsync node %u data %u", id, datasync);
    content_durable(&client->content[id], version);
    // fdatasync may leave changes of mode and owner behind, and with them what came before.
    if (!datasync)
        log_durable(client, ops_before);
}

static void do_sync(struct client *client)
{
    uint32_t ops_before = client->log_count;
    AUTO_FREE uint32_t *versions = xcalloc(client->now.node_count, sizeof(*versions));
    for (uint32_t id = 0; id < client->now.node_count; id++)
        versions[id] = client->content[id].count;
    uint32_t nodes = client->now.node_count;
    if (!expect(client, "sync", ops_sync(client->world->ops), 0))
        return;
    log_durable(client, ops_before);
    for (uint32_t id = 0; id < nodes; id++)
        if (versions[id])
            content_durable(&client->content[id], versions[id] - 1);
}

// --- comparing ------------------------------------------------------------------------------------

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

static bool list_all(struct listing *list)
{
    struct mnode *dir = &list->model->nodes[list->dir];
    for (;;) {
        uint64_t before = list->cookie;
        list->room = 7;
        if (ops_readdir(list->client->world->ops, dir->ino, list->cookie, false, list_one, list) < 0) {
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

static uint32_t xattr_count(struct ops *ops, uint32_t ino)
{
    char names[1024];
    uint32_t count = 0;
    ssize_t len = ops_listxattr(ops, ino, names, sizeof(names));
    for (ssize_t i = 0; i < len; i++)
        count += names[i] == '\0';
    return count;
}

// One node's attributes, and below directories all of it. `why` tells the first difference.
static bool tree_equals(struct client *client, const struct model *model, uint32_t id, char *why, size_t why_size)
{
    const struct mnode *n = &model->nodes[id];
    struct ops *ops = client->world->ops;
    struct ops_attr attr;
    int rc = ops_getattr(ops, n->ino, &attr);
    if (rc < 0) {
        snprintf(why, why_size, "node %u inode %u: getattr %d", id, n->ino, rc);
        return false;
    }
    bool roots = id <= MODEL_SHARED;
    if (!roots && (attr.mode != n->mode || attr.uid != n->uid || attr.gid != n->gid || attr.nlink != n->nlink)) {
        snprintf(why, why_size, "node %u inode %u: mode %o %o, owner %u %u, group %u %u, links %u %u", id, n->ino, attr.mode, n->mode,
                 attr.uid, n->uid, attr.gid, n->gid, attr.nlink, n->nlink);
        return false;
    }
    for (uint32_t i = 0; i < n->xattr_count; i++) {
        char value[256];
        ssize_t got = ops_getxattr(ops, n->ino, n->xattrs[i].name, value, sizeof(value));
        if (got != (ssize_t)n->xattrs[i].size || memcmp(value, n->xattrs[i].value, (size_t)got) != 0) {
            snprintf(why, why_size, "node %u inode %u: attribute %s", id, n->ino, n->xattrs[i].name);
            return false;
        }
    }
    if (xattr_count(ops, n->ino) != n->xattr_count) {
        snprintf(why, why_size, "node %u inode %u: number of attributes", id, n->ino);
        return false;
    }
    if ((n->mode & 0170000) == S_IFLNK) {
        char target[256] = {0};
        ssize_t got = ops_readlink(ops, n->ino, target, sizeof(target));
        if (got != (ssize_t)strlen(n->target) || memcmp(target, n->target, (size_t)got) != 0) {
            snprintf(why, why_size, "node %u inode %u: symlink target", id, n->ino);
            return false;
        }
    }
    if ((n->mode & 0170000) != S_DIR)
        return true;
    struct listing list = {.client = client, .model = model, .dir = id};
    if (!list_all(&list)) {
        snprintf(why, why_size, "%s", list.why);
        return false;
    }
    for (uint32_t i = 0; i < n->entry_count; i++)
        if (!tree_equals(client, model, n->entries[i].node, why, why_size))
            return false;
    return true;
}

static bool roots_equal(struct client *client, const struct model *model, char *why, size_t why_size)
{
    return tree_equals(client, model, MODEL_OWN, why, why_size) && tree_equals(client, model, MODEL_SHARED, why, why_size);
}

bool client_compare(struct client *client)
{
    char why[256];
    if (!roots_equal(client, &client->now, why, sizeof(why))) {
        client_fail(client, "compare: %s", why);
        return false;
    }
    for (uint32_t id = 0; id < client->now.node_count; id++)
        if (client->content[id].count && node(client, id)->nlink && !read_equals(client, id, 0, MODEL_FILE_MAX))
            return false;
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
    uint32_t count = client->log_count + client->is_pending;
    if (client->is_pending && client->pending.kind < MOP_LINK) {
        // The number of an inode whose making was never answered is learnt from the volume.
        struct mop *op = &client->pending;
        struct ops_attr attr;
        if (op->kind == MOP_TMPFILE || ops_lookup(client->world->ops, node(client, op->parent)->ino, name_of(op->name), &attr) < 0) {
            count--;
        } else {
            op->ino = attr.ino;
            forget(client, attr.ino);
        }
    }
    for (uint32_t prefix = 0; ; prefix++) {
        if (roots_equal(client, &client->base, why, sizeof(why))) {
            say(client, "recovered after %u of %u operations", prefix, count);
            break;
        }
        if (prefix == count) {
            client_fail(client, "after the crash no prefix of %u operations fits; the longest: %s", count, why);
            return false;
        }
        model_apply(&client->base, prefix < client->log_count ? &client->log[prefix] : &client->pending);
    }
    // What is found is the new beginning.
    uint32_t own = client->now.nodes[MODEL_OWN].ino, shared = client->now.nodes[MODEL_SHARED].ino;
    (void)own, (void)shared;
    struct model now = {.node_count = client->base.node_count, .node_capacity = client->base.node_count};
    now.nodes = xcalloc(now.node_capacity, sizeof(*now.nodes));
    memcpy(now.nodes, client->base.nodes, now.node_count * sizeof(*now.nodes));
    for (uint32_t id = 0; id < now.node_count; id++) {
        struct mnode *n = &now.nodes[id];
        struct mentry *entries = n->entries;
        n->entries = xcalloc(n->entry_count + 1, sizeof(*entries));
        if (n->entry_count)
            memcpy(n->entries, entries, n->entry_count * sizeof(*entries));
    }
    model_fini(&client->now);
    client->now = now;
    client->log_count = 0;
    client->is_pending = false;
    client->pending_content = 0;
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
    return true;
}

void client_run(struct client *client)
{
    while (client->ops_left && !client->failed) {
        client->ops_left--;
        uint32_t choice = draw(client, 100);
        if (choice < 18) do_make(client);
        else if (choice < 22) do_close(client);
        else if (choice < 26) do_link(client);
        else if (choice < 36) do_unlink(client);
        else if (choice < 44) do_rename(client);
        else if (choice < 48) do_setattr(client);
        else if (choice < 54) do_xattr(client);
        else if (choice < 76) do_write(client);
        else if (choice < 84) do_shape(client);
        else if (choice < 90) do_read(client);
        else if (choice < 95) do_fsync(client);
        else if (choice < 97) do_sync(client);
        else rt_sleep_until(client->world->rt, rt_now_ns(client->world->rt) + (uint64_t)draw(client, 3000) * 1000000);
    }
}
