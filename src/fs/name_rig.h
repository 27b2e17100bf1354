// SPDX-License-Identifier: MIT
// name_rig.h - for the tests of directories and attributes: files, directories and links without ops.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/alloc.h"
#include "fs/dir.h"
#include "fs/xattr.h"

struct name_make {
    struct inode *parent;
    struct dir_name name;
    uint16_t mode;
    uint16_t umask;
    struct inode_new spec;
    struct map_append block;
    struct dir_add add;
    struct xattr_inherit acl;
};

static inline struct dir_name name_of(const char *text)
{
    return (struct dir_name){text, strlen(text)};
}

static inline int name_make_pass(struct plan *plan, void *arg)
{
    struct name_make *make = arg;
    uint64_t goal = group_first_block(&plan->fs->geo, 0);
    make->spec = (struct inode_new){.mode = make->mode, .generation = 7};
    make->acl.mode = make->mode;
    make->acl.umask = make->umask;
    make->add.name = make->name;
    int rc = alloc_claim_inode(plan, make->parent, make->mode, &make->spec.ino);
    if (rc == 0)
        rc = inode_plan_new(plan, make->spec.ino);
    if (rc == 0)
        rc = xattr_plan_inherit(plan, make->parent, &make->acl);
    if (rc == 0 && (make->mode & 0170000) == 0040000)
        rc = dir_plan_make(plan, make->parent->ino, goal, &make->block);
    if (rc == 0)
        rc = dir_plan_add(plan, make->parent, &make->add);
    if (rc == 0)
        plan_will_dirty_inode(plan, make->parent);
    return rc;
}

// A file or directory with one name. Referenced.
static inline struct inode *name_make_masked(struct inode *parent, const char *name, uint16_t mode, uint16_t umask)
{
    struct name_make make = {.parent = parent, .name = name_of(name), .mode = mode, .umask = umask};
    bool is_dir = (mode & 0170000) == 0040000;
    struct plan plan;
    plan_init(&plan, parent->fs);
    assert_int_equal(plan_run(&plan, name_make_pass, &make), 0);

    make.spec.mode = make.acl.mode;
    alloc_apply_use_inode(&plan, make.spec.ino, is_dir);
    struct inode *made = inode_apply_new(&plan, &make.spec);
    made->d.nlink = is_dir ? 2 : 1;
    parent->d.nlink += is_dir;
    if (is_dir)
        dir_apply_make(&plan, made, &make.block, parent->ino);
    xattr_apply_inherit(&plan, made, &make.acl);
    dir_apply_add(&plan, parent, &make.add, made->ino, dir_type_of_mode(mode));
    inode_dirty(made, true);
    inode_dirty(parent, true);
    dir_add_fini(&make.add);
    xattr_inherit_fini(&make.acl);
    plan_end(&plan);
    return made;
}

static inline struct inode *name_make(struct inode *parent, const char *name, uint16_t mode)
{
    return name_make_masked(parent, name, mode, 0);
}

static inline struct inode *name_root(struct fs *fs)
{
    struct inode *root;
    assert_int_equal(inode_get(fs, EXT4_ROOT_INO, &root), 0);
    return root;
}

// What the name leads to, referenced.
static inline struct inode *name_open(struct inode *dir, const char *name)
{
    struct dir_entry entry;
    struct inode *inode;
    assert_int_equal(dir_lookup(NULL, dir, name_of(name), &entry), 0);
    assert_int_equal(inode_get(dir->fs, entry.ino, &inode), 0);
    return inode;
}

struct name_change {
    struct inode *dir, *target;
    struct dir_name name;
    struct dir_add add;
    struct dir_entry entry;
};

static inline int name_link_pass(struct plan *plan, void *arg)
{
    struct name_change *change = arg;
    int rc = dir_lookup(plan, change->dir, change->name, &change->entry);
    if (rc != -ENOENT)
        return rc < 0 ? rc : -EEXIST;
    change->add.name = change->name;
    rc = dir_plan_add(plan, change->dir, &change->add);
    plan_will_dirty_inode(plan, change->dir);
    plan_will_dirty_inode(plan, change->target);
    return rc;
}

static inline int name_link(struct inode *dir, struct dir_name name, struct inode *target)
{
    struct name_change change = {.dir = dir, .target = target, .name = name};
    struct plan plan;
    plan_init(&plan, dir->fs);
    int rc = plan_run(&plan, name_link_pass, &change);
    if (rc == 0) {
        dir_apply_add(&plan, dir, &change.add, target->ino, dir_type_of_mode(target->d.mode));
        target->d.nlink++;
        inode_dirty(target, true);
        inode_dirty(dir, true);
    }
    dir_add_fini(&change.add);
    plan_end(&plan);
    return rc;
}

static inline int name_unlink_pass(struct plan *plan, void *arg)
{
    struct name_change *change = arg;
    int rc = dir_lookup(plan, change->dir, change->name, &change->entry);
    if (rc < 0)
        return rc;
    dir_plan_change(plan, change->dir, &change->entry);
    plan_will_dirty_inode(plan, change->dir);
    plan_will_dirty_inode(plan, change->target);
    return 0;
}

static inline int name_unlink(struct inode *dir, struct dir_name name, struct inode *target)
{
    struct name_change change = {.dir = dir, .target = target, .name = name};
    struct plan plan;
    plan_init(&plan, dir->fs);
    int rc = plan_run(&plan, name_unlink_pass, &change);
    if (rc == 0) {
        dir_apply_remove(&plan, dir, &change.entry);
        target->d.nlink--;
        inode_dirty(target, true);
        inode_dirty(dir, true);
    }
    plan_end(&plan);
    return rc;
}
