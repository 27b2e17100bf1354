// SPDX-License-Identifier: MIT
// lookup.c - from a name, or from the number in a file handle, to an inode.
//
// Plan: the directory, the entry, its inode. Nothing is changed on the volume: the apply half
// counts the lookup and copies the attributes.
#include "ops/internal.h"

struct lookup {
    struct op op;
    uint32_t ino;               // the directory, or the inode of a handle
    uint32_t generation;        // of the inode that a request had made
    struct ops_name name;
    struct inode *found;
};

static int run(struct ops *ops, struct lookup *lookup, int (*pass)(struct plan *plan, void *arg), struct ops_attr *out)
{
    int rc = op_begin(&lookup->op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&lookup->op.plan, pass, lookup);
    if (rc == 0) {
        known_add(ops, lookup->found);
        op_fill_attr(lookup->found, out);
    }
    return op_end(&lookup->op, rc);
}

static int name_pass(struct plan *plan, void *arg)
{
    struct lookup *l = arg;
    struct inode *dir;
    struct dir_entry entry;

    int rc = op_dir(plan, l->ino, &dir);
    if (rc == 0)
        rc = op_check_name(l->name);
    if (rc == 0 && dir->d.nlink == 0)
        rc = -ENOENT;
    return rc < 0 ? rc : op_child(plan, dir, l->name, &entry, &l->found);
}

int ops_lookup(struct ops *ops, uint32_t parent, struct ops_name name, struct ops_attr *out)
{
    struct lookup lookup = {.ino = parent, .name = name};
    return run(ops, &lookup, name_pass, out);
}

// A handle outlives its inode: what was deleted since is stale, even while somebody has it open.
static int ino_pass(struct plan *plan, void *arg)
{
    struct lookup *l = arg;

    int rc = plan_inode(plan, l->ino, &l->found);
    if (rc == 0 && l->found->d.nlink == 0)
        return -ESTALE;
    return rc;
}

int ops_lookup_ino(struct ops *ops, uint32_t ino, struct ops_attr *out)
{
    struct lookup lookup = {.ino = ino};
    return run(ops, &lookup, ino_pass, out);
}

static int made_pass(struct plan *plan, void *arg)
{
    struct lookup *l = arg;

    int rc = plan_inode(plan, l->ino, &l->found);
    return rc == 0 && l->found->d.generation != l->generation ? -ESTALE : rc;
}

int ops_lookup_made(struct ops *ops, uint32_t ino, uint32_t generation, struct ops_attr *out)
{
    struct lookup lookup = {.ino = ino, .generation = generation};
    int rc = run(ops, &lookup, made_pass, out);
    if (rc == 0 && out->nlink == 0)
        known_find(ops, ino)->linkable = true;      // by ops_tmpfile(), in another server's life
    return rc;
}

static int parent_pass(struct plan *plan, void *arg)
{
    struct lookup *l = arg;
    struct inode *dir;
    uint32_t parent_ino;

    int rc = op_dir(plan, l->ino, &dir);
    if (rc == 0 && dir->d.nlink == 0)
        rc = -ESTALE;
    if (rc == 0)
        rc = op_parent_of(plan, dir, &parent_ino);
    if (rc == 0)
        rc = plan_inode(plan, parent_ino, &l->found);
    if (rc == -ESTALE || (rc == 0 && inode_is_dir(l->found)))
        return rc;
    return rc < 0 ? rc : -EFSCORRUPTED;
}

int ops_lookup_parent(struct ops *ops, uint32_t ino, struct ops_attr *out)
{
    struct lookup lookup = {.ino = ino};
    return run(ops, &lookup, parent_pass, out);
}
