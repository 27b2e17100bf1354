// SPDX-License-Identifier: MIT
// client.c - random operations and the answers that they must get.
#include "client_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static uint32_t draw(struct client *client, uint32_t below)
{
    // splitmix64: the client's own chance, apart from that of the world.
    uint64_t z = (client->random += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

void client_fail(struct client *client, const char *fmt, ...)
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

void client_say(struct client *client, const char *fmt, ...)
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

bool client_expect(struct client *client, const char *what, int64_t got, int64_t wanted)
{
    client_say(client, "%s -> %lld", what, (long long)got);
    if (got == wanted)
        return true;
    client_fail(client, "%s answered %lld, expected %lld", what, (long long)got, (long long)wanted);
    return false;
}

// --- asking -----------------------------------------------------------------------------------------
// An operation has three parts, so that a server may die between any two instructions of its own: it is
// drawn and written down (the task), served, and judged. The second part may happen several times.

static void touch(struct client *client, uint32_t id)
{
    struct task *task = &client->task;
    if (id == MODEL_SHARED || task->touched_count == ARRAY_LEN(task->touched))
        return;
    task->touched[task->touched_count++] = id;
    if (id < client->now.node_count)
        seen_unsure(client, id);
}

void client_look(struct client *client, uint32_t id)
{
    struct ops_attr attr;
    if (id >= client->now.node_count || !node(client, id)->exists || (!node(client, id)->nlink && !is_held(client, id)))
        return;
    int rc = ops_getattr(client->world->ops, node(client, id)->ino, &attr);
    if (rc < 0)
        client->faults ? (void)0 : client_fail(client, "node %u inode %u: getattr %d", id, node(client, id)->ino, rc);
    else
        seen_fill(&node(client, id)->seen, &attr);
}

// The record says what the request came to, so it is not executed again. What the kernel must be told
// besides is looked up.
static int64_t serve_record(struct client *client, struct ops_attr *attr)
{
    struct task *task = &client->task;
    int rc = 0;
    client->from_record++;
    client_say(client, "  answered from the record: %lld", (long long)task->answer.result);
    if (task->answer.result < 0)
        return task->answer.result;
    if (task->kind == TASK_MAKE || task->kind == TASK_LINK)
        rc = ops_lookup_made(client->world->ops, task->answer.ino, task->answer.generation, attr);
    return rc < 0 ? rc : task->answer.result;
}

static int64_t serve_make(struct client *client, struct ops_attr *attr)
{
    const struct task *task = &client->task;
    const struct mop *op = &task->op;
    struct ops *ops = client->world->ops;
    bool created = true;
    switch (op->kind) {
    case MOP_CREATE: return ops_create(ops, &task->caller, task->parent_ino, name_of(op->name), (uint16_t)op->mode, true, attr, &created);
    case MOP_MKDIR: return ops_mkdir(ops, &task->caller, task->parent_ino, name_of(op->name), (uint16_t)op->mode, attr);
    case MOP_SYMLINK: return ops_symlink(ops, &task->caller, task->parent_ino, name_of(op->name), name_of(op->value), attr);
    case MOP_MKNOD: return ops_mknod(ops, &task->caller, task->parent_ino, name_of(op->name), (uint16_t)(S_IFIFO | op->mode), 0, 0, attr);
    default: return ops_tmpfile(ops, &task->caller, task->parent_ino, (uint16_t)op->mode, attr);
    }
}

static int64_t serve_read(struct client *client);

static int64_t serve_task(struct client *client, struct ops_attr *attr)
{
    struct task *task = &client->task;
    const struct mop *op = &task->op;
    struct ops *ops = client->world->ops;
    if (task->answer.seq)
        return serve_record(client, attr);
    ops_tag(ops, client->number + 1, client->request, &task->answer);
    switch (task->kind) {
    case TASK_MAKE: return serve_make(client, attr);
    case TASK_LINK: return ops_link(ops, task->ino, task->parent_ino, name_of(op->name), attr);
    case TASK_UNLINK: return ops_unlink(ops, task->parent_ino, name_of(op->name));
    case TASK_RMDIR: return ops_rmdir(ops, task->parent_ino, name_of(op->name));
    case TASK_RENAME: return ops_rename(ops, &task->caller, task->parent_ino, name_of(op->name), task->parent2_ino, name_of(op->name2), op->flags);
    case TASK_SETATTR:
    case TASK_RESIZE: return ops_setattr(ops, &task->caller, task->ino, &task->set, attr);
    case TASK_SETXATTR: return ops_setxattr(ops, task->ino, op->name, op->value, op->value_size, 0, false);
    case TASK_REMOVEXATTR: return ops_removexattr(ops, task->ino, op->name);
    case TASK_WRITE: return ops_write(ops, task->ino, &(struct ops_write){.off = task->off, .bytes = task->bytes, .len = task->len});
    case TASK_FALLOCATE: return ops_fallocate(ops, task->ino, task->mode, task->off, task->len);
    case TASK_READ: return serve_read(client);
    case TASK_FSYNC: return ops_fsync(ops, task->ino, task->datasync);
    case TASK_SYNC: return ops_sync(ops);
    default: return 0;
    }
}

// --- judging ------------------------------------------------------------------------------------------

static void check_new(struct client *client, const struct ops_attr *attr, const struct mop *op)
{
    for (uint32_t id = 0; id < client->now.node_count; id++) {
        struct mnode *n = node(client, id);
        if (n->exists && (n->nlink || is_held(client, id)) && n->ino == attr->ino)
            client_fail(client, "new inode %u is in use as node %u", attr->ino, id);
    }
    if ((attr->mode & 07777) != op->mode)
        client_fail(client, "new inode %u has mode %o, asked for %o", attr->ino, attr->mode, op->mode);
}

// The versions that a crash may bring back include the one under way, so it is pushed before the
// question is asked, and taken back when the answer is an error.
static void content_pop(struct client *client, uint32_t id)
{
    struct mcontent *content = &client->content[id];
    free(content->versions[--content->count].bytes);
}

static void judge_content(struct client *client, const char *what, int64_t rc)
{
    struct task *task = &client->task;
    bool no_extents = rc == -EOPNOTSUPP && !client->world->fs->geo.has_extents;
    if (rc < 0)
        content_pop(client, task->op.node);
    // Indirect blocks know no unwritten ones, so ext4 answers the same.
    if (no_extents || !client_expect(client, what, rc, task->wanted))
        return;
    log_push(client, &task->op);
}

static void judge_make(struct client *client, const struct ops_attr *attr)
{
    struct task *task = &client->task;
    struct mop *op = &task->op;
    op->ino = attr->ino;
    check_new(client, attr, op);
    log_push(client, op);
    client_say(client, "  node %u is inode %u, %s in %u", op->node, op->ino, op->name, op->parent);
    if (op->kind == MOP_CREATE || op->kind == MOP_TMPFILE)
        content_init(&client->content[op->node]);
    // Some are kept open; a temporary file lives only while it is.
    if (task->keep_open)
        client->open[task->keep_open - 1] = op->node;
    else
        forget(client, attr->ino);
}

static void judge_durable(struct client *client)
{
    struct task *task = &client->task;
    if (task->kind == TASK_FSYNC)
        content_durable(&client->content[task->op.node], task->durable_version);
    // A lost write-back is told once, perhaps to another client's sync.
    for (uint32_t id = 0; id < task->durable_nodes && !client->faults; id++)
        if (task->durable_versions[id])
            content_durable(&client->content[id], task->durable_versions[id] - 1);
    log_durable(client, task->durable_ops);
}

static const char *task_name(enum task_kind kind)
{
    static const char *const names[] = {
        [TASK_NONE] = "nothing", [TASK_MAKE] = "make", [TASK_LINK] = "link", [TASK_UNLINK] = "unlink", [TASK_RMDIR] = "rmdir",
        [TASK_RENAME] = "rename", [TASK_SETATTR] = "setattr", [TASK_SETXATTR] = "setxattr", [TASK_REMOVEXATTR] = "removexattr",
        [TASK_WRITE] = "write", [TASK_RESIZE] = "truncate", [TASK_FALLOCATE] = "fallocate", [TASK_READ] = "read",
        [TASK_FSYNC] = "fsync", [TASK_SYNC] = "sync",
    };
    return names[kind];
}

static void judge_answer(struct client *client, int64_t rc, const struct ops_attr *attr)
{
    struct task *task = &client->task;
    const char *what = task_name(task->kind);
    switch (task->kind) {
    case TASK_WRITE: case TASK_RESIZE: case TASK_FALLOCATE:
        return judge_content(client, what, rc);
    case TASK_FSYNC: case TASK_SYNC:
        if (client_expect(client, what, rc, 0))
            judge_durable(client);
        return;
    case TASK_READ:
        return;                     // judged while the bytes were there
    default:
        // A full volume may refuse anything that needs space; then nothing has happened.
        if ((rc == -ENOSPC && task->wanted == 0) || !client_expect(client, what, rc, task->wanted) || rc != 0)
            return;
        if (task->kind == TASK_MAKE)
            return judge_make(client, attr);
        log_push(client, &task->op);
        if (task->kind == TASK_LINK)
            forget(client, attr->ino);
    }
}

void client_task_fini(struct client *client)
{
    struct task *task = &client->task;
    free(task->bytes);
    free(task->durable_versions);
    *task = (struct task){0};
}

// Which of two true reasons for a refusal the kernel's order of checks names first is not the point here.
static int64_t same_refusal(const struct task *task, int64_t rc)
{
    int64_t wanted = task->wanted;
    bool vague = wanted == -EINVAL || wanted == -ENOTEMPTY || wanted == -EISDIR || wanted == -EEXIST;
    return task->kind == TASK_RENAME && vague && rc < 0 ? wanted : rc;
}

static void finish(struct client *client, int64_t rc, const struct ops_attr *attr)
{
    struct task *task = &client->task;
    if (client->faults && (rc == -EIO || rc == -EROFS) && task->wanted != rc) {
        // It may have happened or not, as if the power had gone in the middle.
        client_say(client, "%s -> %lld, gives up", task_name(task->kind), (long long)rc);
        client->gave_up = true;
        return;
    }
    judge_answer(client, same_refusal(task, rc), attr);
    uint32_t touched[ARRAY_LEN(task->touched)], count = task->touched_count;
    memcpy(touched, task->touched, sizeof(touched));
    client_task_fini(client);
    for (uint32_t i = 0; i < count && !client->failed; i++)
        client_look(client, touched[i]);
}

// Asks, and judges the answer.
static void serve(struct client *client)
{
    struct ops_attr attr = {0};
    client->task.deliveries++;
    int64_t rc = serve_task(client, &attr);
    rt_probe(client->world->rt, RT_PROBE_REPLY);
    finish(client, rc, &attr);
}

static struct task *task_begin(struct client *client, enum task_kind kind)
{
    CHECK(client->task.kind == TASK_NONE);
    client->task = (struct task){.kind = kind};
    client->request++;
    return &client->task;
}

void client_resend(struct client *client)
{
    if (client->task.kind == TASK_NONE || client->gave_up)
        return;
    client_say(client, "%s comes again", task_name(client->task.kind));
    client->resent++;
    serve(client);
}

// Held open, or about to be told of in an answer that waits in its record.
bool client_knows(const struct client *client, uint32_t ino)
{
    for (size_t i = 0; i < ARRAY_LEN(client->open); i++)
        if (client->open[i] && client->now.nodes[client->open[i]].ino == ino)
            return true;
    return client->task.kind != TASK_NONE && client->task.answer.seq && client->task.answer.ino == ino;
}

void client_applied(struct client *client, const struct plog_entry *entry)
{
    struct task *task = &client->task;
    if (entry->client != client->number + 1 || entry->request != client->request || task->kind == TASK_NONE)
        return;
    if (task->answer.seq && (task->answer.seq != entry->seq || task->answer.result != entry->result))
        client_fail(client, "the record says %lld, the log says %lld", (long long)task->answer.result, (long long)entry->result);
    if (!task->answer.seq)
        client_say(client, "%s was applied, says the log", task_name(task->kind));
    task->answer = (struct ops_answer){
        .seq = entry->seq, .result = entry->result,
        .ino = entry->target[PLOG_SELF].ino, .generation = entry->target[PLOG_SELF].generation,
    };
}

// --- namespace ------------------------------------------------------------------------------------

static void do_make(struct client *client)
{
    static const enum mop_kind kinds[] = {MOP_CREATE, MOP_CREATE, MOP_CREATE, MOP_MKDIR, MOP_MKDIR, MOP_SYMLINK, MOP_MKNOD, MOP_TMPFILE};
    if (client->now.node_count >= CLIENT_NODES_MAX)
        return;
    struct task *task = task_begin(client, TASK_MAKE);
    struct mop *op = &task->op;
    *op = (struct mop){.kind = kinds[draw(client, ARRAY_LEN(kinds))], .parent = pick_dir(client), .node = client->now.node_count};
    task->caller = (struct ops_caller){.uid = draw(client, 3) * 1000, .gid = draw(client, 3) * 1000};
    op->uid = task->caller.uid;
    op->gid = task->caller.gid;
    op->mode = op->kind == MOP_SYMLINK ? 0777 : 0600 | draw(client, 0200);
    pick_name(client, op->name);
    if (op->kind == MOP_SYMLINK)
        op->value_size = (uint32_t)snprintf(op->value, sizeof(op->value), "%0*u", (int)(1 + draw(client, 200)), op->node);
    task->wanted = op->kind != MOP_TMPFILE && model_find(&client->now, op->parent, op->name) ? -EEXIST : 0;
    task->parent_ino = node(client, op->parent)->ino;
    task->changes = true;
    uint32_t slot = draw(client, ARRAY_LEN(client->open));
    if ((op->kind == MOP_TMPFILE || (op->kind == MOP_CREATE && draw(client, 4) == 0)) && !client->open[slot])
        task->keep_open = slot + 1;
    touch(client, op->node);
    touch(client, op->parent);
    serve(client);
}

static void do_close(struct client *client)
{
    uint32_t *slot = &client->open[draw(client, ARRAY_LEN(client->open))];
    if (!*slot)
        return;
    uint32_t ino = node(client, *slot)->ino;
    client_say(client, "close node %u inode %u", *slot, ino);
    *slot = 0;
    forget(client, ino);
}

static void do_link(struct client *client)
{
    struct mop op = {.kind = MOP_LINK, .parent = pick_dir(client), .node = pick_node(client, false)};
    // A file without a name gets one only when it is of O_TMPFILE.
    if (!op.node || model_is_dir(&client->now, op.node) || (!node(client, op.node)->nlink && !node(client, op.node)->linkable))
        return;
    struct task *task = task_begin(client, TASK_LINK);
    pick_name(client, op.name);
    task->op = op;
    task->changes = true;
    task->wanted = model_find(&client->now, op.parent, op.name) ? -EEXIST : 0;
    task->ino = node(client, op.node)->ino;
    task->parent_ino = node(client, op.parent)->ino;
    touch(client, op.node);
    touch(client, op.parent);
    serve(client);
}

static void do_unlink(struct client *client)
{
    struct task *task = task_begin(client, draw(client, 4) ? TASK_UNLINK : TASK_RMDIR);
    struct mop *op = &task->op;
    *op = (struct mop){.kind = task->kind == TASK_UNLINK ? MOP_UNLINK : MOP_RMDIR, .parent = pick_dir(client)};
    pick_name(client, op->name);
    struct mnode *dir = node(client, op->parent);
    if (dir->entry_count && draw(client, 4))
        memcpy(op->name, dir->entries[draw(client, dir->entry_count)].name, sizeof(op->name));

    struct mentry *entry = model_find(&client->now, op->parent, op->name);
    bool is_dir = entry && model_is_dir(&client->now, entry->node);
    task->wanted = !entry ? -ENOENT
        : op->kind == MOP_UNLINK ? (is_dir ? -EISDIR : 0)
        : !is_dir ? -ENOTDIR : node(client, entry->node)->entry_count ? -ENOTEMPTY : 0;
    op->node = entry ? entry->node : 0;
    task->changes = true;
    task->parent_ino = dir->ino;
    touch(client, op->node);
    touch(client, op->parent);
    serve(client);
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
    struct task *task = task_begin(client, TASK_RENAME);
    struct mop *op = &task->op;
    *op = (struct mop){.kind = MOP_RENAME, .parent = pick_dir(client), .parent2 = pick_dir(client), .flags = draw(client, 8)};
    if (op->flags > 2)
        op->flags = 0;
    struct mnode *dir = node(client, op->parent);
    pick_name(client, op->name);
    pick_name(client, op->name2);
    if (dir->entry_count && draw(client, 8))
        memcpy(op->name, dir->entries[draw(client, dir->entry_count)].name, sizeof(op->name));
    struct mentry *from = model_find(&client->now, op->parent, op->name);
    struct mentry *to = model_find(&client->now, op->parent2, op->name2);
    op->node = from ? from->node : 0;
    task->wanted = rename_wanted(client, op);
    task->changes = true;
    task->parent_ino = dir->ino;
    task->parent2_ino = node(client, op->parent2)->ino;
    touch(client, op->node);
    touch(client, op->parent);
    touch(client, op->parent2);
    if (to)
        touch(client, to->node);
    serve(client);
}

// --- attributes ---------------------------------------------------------------------------------

static void do_setattr(struct client *client)
{
    struct mop op = {.kind = MOP_SETATTR, .node = pick_node(client, false), .flags = 1 + draw(client, 7)};
    if (!op.node || (node(client, op.node)->mode & 0170000) == S_IFLNK)
        return;
    struct task *task = task_begin(client, TASK_SETATTR);
    struct ops_setattr *set = &task->set;
    op.mode = set->mode = draw(client, 01000);
    op.uid = set->uid = draw(client, 100000);
    op.gid = set->gid = draw(client, 100000);
    set->atime = (struct ops_time){draw(client, 2000000000), draw(client, 1000000000)};
    set->mtime = (struct ops_time){draw(client, 2000000000), draw(client, 1000000000)};
    set->set = (op.flags & 1 ? OPS_SET_MODE : 0) | (op.flags & 2 ? OPS_SET_UID | OPS_SET_GID : 0) |
               (op.flags & 4 ? OPS_SET_ATIME | OPS_SET_MTIME : 0);
    task->op = op;
    task->changes = true;
    task->ino = node(client, op.node)->ino;
    touch(client, op.node);
    serve(client);
}

static void do_xattr(struct client *client)
{
    struct mop op = {.kind = draw(client, 3) ? MOP_SETXATTR : MOP_REMOVEXATTR, .node = pick_node(client, false)};
    if (!op.node || (node(client, op.node)->mode & 0170000) == S_IFLNK || (node(client, op.node)->mode & 0170000) == S_IFIFO)
        return;
    struct task *task = task_begin(client, op.kind == MOP_SETXATTR ? TASK_SETXATTR : TASK_REMOVEXATTR);
    snprintf(op.name, sizeof(op.name), "user.attr%u", draw(client, 6));
    bool has = model_xattr(&client->now, op.node, op.name);
    if (op.kind == MOP_SETXATTR) {
        op.value_size = draw(client, sizeof(op.value));
        for (uint32_t i = 0; i < op.value_size; i++)
            op.value[i] = (char)draw(client, 256);
    }
    task->wanted = op.kind == MOP_SETXATTR || has ? 0 : -ENODATA;
    task->op = op;
    task->changes = true;
    task->ino = node(client, op.node)->ino;
    touch(client, op.node);
    serve(client);
}

// --- content ------------------------------------------------------------------------------------

static struct task *content_begin(struct client *client, enum task_kind kind, uint32_t id, int64_t wanted)
{
    struct task *task = task_begin(client, kind);
    task->op = (struct mop){.kind = MOP_CONTENT, .node = id};
    task->changes = true;
    task->ino = node(client, id)->ino;
    task->wanted = wanted;
    touch(client, id);
    return task;
}

#define WRITE_MAX 32768u

static void do_write(struct client *client)
{
    uint32_t id = pick_node(client, true);
    if (!id)
        return;
    struct mcontent *content = &client->content[id];
    uint32_t size = content_now(content)->size;
    uint32_t len = 1 + draw(client, draw(client, 3) ? 5000 : WRITE_MAX - 1);
    uint32_t off = draw(client, 3) ? size : draw(client, MODEL_FILE_MAX / 2);
    if (draw(client, 4) == 0) {
        off &= ~4095u;
        len = (len + 4095) & ~4095u;
        len = MIN(len, WRITE_MAX);
    }
    if (off + len > MODEL_FILE_MAX)
        return;
    struct task *task = content_begin(client, TASK_WRITE, id, len);
    uint8_t tag = (uint8_t)(1 + draw(client, 255));
    task->bytes = xmalloc(len);
    for (uint32_t i = 0; i < len; i++)
        task->bytes[i] = (uint8_t)(tag + i / 7);
    task->off = off;
    task->len = len;
    content_write(content, off, task->bytes, len);
    client_say(client, "  write node %u inode %u off %u len %u", id, task->ino, off, len);
    serve(client);
}

static void do_shape(struct client *client)
{
    static const int modes[] = {[1] = 0, [2] = 1, [3] = 3, [4] = 0x10};
    uint32_t id = pick_node(client, true), how = draw(client, 5);
    if (!id)
        return;
    struct mcontent *content = &client->content[id];
    uint32_t size = content_now(content)->size;
    uint32_t off = draw(client, size + 10000), len = 1 + draw(client, 40000);
    off = MIN(off, MODEL_FILE_MAX - len);
    struct task *task = content_begin(client, how ? TASK_FALLOCATE : TASK_RESIZE, id, 0);
    client_say(client, "  shape node %u inode %u how %u off %u len %u size %u", id, task->ino, how, off, len, size);
    task->set = (struct ops_setattr){.set = OPS_SET_SIZE, .size = off};
    task->off = off;
    task->len = len;
    if (how)
        task->mode = modes[how];
    switch (how) {
    case 0: content_resize(content, off); break;
    case 1: content_resize(content, MAX(size, off + len)); break;
    case 2: content_resize(content, size); break;
    case 3: content_zero(content, off, len, false); break;
    default: content_zero(content, off, len, true); break;
    }
    serve(client);
}

bool client_read_equals(struct client *client, uint32_t id, uint32_t off, uint32_t len)
{
    const struct mversion *now = content_now(&client->content[id]);
    uint32_t have = off < now->size ? MIN(len, now->size - off) : 0;
    AUTO_FREE uint8_t *out = xblocks(len / BLOCK_BYTES + 2);
    ssize_t got = ops_read(client->world->ops, node(client, id)->ino, off, len, out);
    if (client->faults && got != have)
        return !(client->gave_up = true);
    if (!client_expect(client, "read", got, have))
        return false;
    for (uint32_t i = 0; i < have; i++) {
        if (out[i] != now->bytes[off + i]) {
            // What the disk refused to take is gone when its page is (and an fsync would say so).
            if (client->faults)
                return !(client->gave_up = true);
            client_fail(client, "node %u inode %u byte %u of %u is %u, expected %u", id, node(client, id)->ino,
                        off + i, now->size, out[i], now->bytes[off + i]);
            return false;
        }
    }
    return true;
}

static int64_t serve_read(struct client *client)
{
    struct task *task = &client->task;
    return client_read_equals(client, task->op.node, task->off, task->len) ? 0 : -EIO;
}

static void do_read(struct client *client)
{
    uint32_t id = pick_node(client, true);
    if (!id)
        return;
    struct task *task = task_begin(client, TASK_READ);
    task->op.node = id;
    task->off = draw(client, MODEL_FILE_MAX / 2);
    task->len = 1 + draw(client, 60000);
    touch(client, id);
    serve(client);
}

// --- durability -----------------------------------------------------------------------------------

static void do_fsync(struct client *client)
{
    uint32_t id = pick_node(client, true);
    if (!id)
        return;
    struct task *task = task_begin(client, TASK_FSYNC);
    task->op.node = id;
    task->ino = node(client, id)->ino;
    task->datasync = draw(client, 3) == 0;
    task->durable_version = client->content[id].count - 1;
    // fdatasync may leave changes of mode and owner behind, and with them what came before.
    task->durable_ops = task->datasync ? 0 : log_last_of(client, id);
    client_say(client, "  fsync node %u inode %u data %u", id, task->ino, task->datasync);
    serve(client);
}

static void do_sync(struct client *client)
{
    struct task *task = task_begin(client, TASK_SYNC);
    task->durable_ops = client->log_count;
    task->durable_nodes = client->now.node_count;
    task->durable_versions = xcalloc(task->durable_nodes, sizeof(*task->durable_versions));
    for (uint32_t id = 0; id < task->durable_nodes; id++)
        task->durable_versions[id] = client->content[id].count;
    serve(client);
}

void client_run(struct client *client)
{
    while (client->ops_left && !client->failed && !client->gave_up) {
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
