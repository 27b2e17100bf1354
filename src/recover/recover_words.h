// SPDX-License-Identifier: MIT
// recover_words.h - for tests of recovery: short forms of operations, and the world before.
#pragma once

#include <string.h>

#include "base/check.h"
#include "recover/recover_rig.h"
#include "rt/rt.h"

// --- short forms ------------------------------------------------------------------------------------

static inline struct ops_name n(const char *name) { return (struct ops_name){name, strlen(name)}; }

static inline uint32_t find(struct recover_rig *rig, uint32_t parent, const char *name)
{
    struct ops_attr attr;
    if (ops_lookup(rig->ops, parent, n(name), &attr) < 0)
        return 0;
    ops_forget(rig->ops, attr.ino, 1);
    return attr.ino;
}

static inline uint32_t at(struct recover_rig *rig, const char *a, const char *b)
{
    uint32_t ino = find(rig, OPS_ROOT, a);
    return b && ino ? find(rig, ino, b) : ino;
}

static inline uint32_t make(struct recover_rig *rig, uint32_t parent, const char *name)
{
    struct ops_attr attr;
    bool created;
    assert_int_equal(ops_create(rig->ops, &rig->caller, parent, n(name), 0664, true, &attr, &created), 0);
    ops_forget(rig->ops, attr.ino, 1);
    return attr.ino;
}

static inline uint32_t make_dir(struct recover_rig *rig, uint32_t parent, const char *name)
{
    struct ops_attr attr;
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, parent, n(name), 0775, &attr), 0);
    ops_forget(rig->ops, attr.ino, 1);
    return attr.ino;
}

static inline int put(struct recover_rig *rig, uint32_t ino, uint64_t off, size_t len, uint8_t seed)
{
    AUTO_FREE uint8_t *bytes = xmalloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
    ssize_t rc = ops_write(rig->ops, ino, &(struct ops_write){.off = off, .bytes = bytes, .len = len, .privileged = true});
    return rc < 0 ? (int)rc : 0;
}

static inline int set(struct recover_rig *rig, uint32_t ino, struct ops_setattr s)
{
    struct ops_attr attr;
    return ops_setattr(rig->ops, &rig->caller, ino, &s, &attr);
}

static inline void tick(struct recover_rig *rig) { rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 1234567); }
static inline void commit(struct recover_rig *rig) { assert_int_equal(fs_commit(rig->fs), 0); }

// --- the world before ---------------------------------------------------------------------------------

struct acl_entry { uint16_t tag, perm; uint32_t id; };
struct acl { uint32_t version; struct acl_entry entries[5]; };
static const struct acl full_acl = {2, {{1, 7, ~0u}, {2, 6, 1000}, {4, 5, ~0u}, {16, 7, ~0u}, {32, 0, ~0u}}};

static inline void set_up(struct recover_rig *rig)
{
    struct ops_attr attr;
    uint32_t d = make_dir(rig, OPS_ROOT, "d"), x = make_dir(rig, OPS_ROOT, "x"), acl = make_dir(rig, OPS_ROOT, "acl");
    uint32_t f = make(rig, d, "f");
    assert_int_equal(put(rig, f, 0, 10000, 1), 0);
    assert_int_equal(ops_setxattr(rig->ops, f, "user.a", "value", 5, 0, false), 0);
    make(rig, d, "e");
    make_dir(rig, d, "sub");
    uint32_t t = make(rig, x, "t");
    assert_int_equal(put(rig, t, 5000, 300000, 2), 0);
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, d, n("l"), n("target"), &attr), 0);
    assert_int_equal(ops_link(rig->ops, f, x, n("f2"), &attr), 0);
    assert_int_equal(set(rig, x, (struct ops_setattr){.set = OPS_SET_MODE | OPS_SET_GID, .mode = 02775, .gid = 77}), 0);
    assert_int_equal(set(rig, t, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 06775}), 0);
    assert_int_equal(ops_setxattr(rig->ops, acl, "system.posix_acl_default", &full_acl, sizeof full_acl, 0, false), 0);
    assert_int_equal(ops_fsync(rig->ops, t, false), 0);
    commit(rig);
    tick(rig);
}

static inline uint32_t d(struct recover_rig *rig) { return at(rig, "d", NULL); }
static inline uint32_t x(struct recover_rig *rig) { return at(rig, "x", NULL); }
static inline uint32_t f(struct recover_rig *rig) { return at(rig, "d", "f"); }
static inline uint32_t t(struct recover_rig *rig) { return at(rig, "x", "t"); }
