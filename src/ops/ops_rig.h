// SPDX-License-Identifier: MIT
// ops_rig.h - for tests: operations on a volume made by mke2fs, with a P-Log beside it.
//
// A test's body runs on a fibre with the volume mounted and ops over it:
//
//   static void body(struct ops_rig *rig) { ... ops_mkdir(rig->ops, ...) ... }
//   ops_rig_test(&(struct fs_rig_options){0}, body);    // mount, body, unmount, e2fsck
//
// The short forms below act as root in umask 022 and fail the test when the operation fails.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/fs_rig.h"
#include "ops/ops.h"
#include "plog/plog.h"

struct ops_rig {
    struct fs_rig *fs_rig;
    struct fs *fs;
    struct ops *ops;
    struct ops_caller caller;
    struct plog plog;
    uint64_t sequence;
    void *arg;
};
typedef void ops_rig_body(struct ops_rig *rig);

// One mount of a volume that exists; and the whole life of one.
void ops_rig_mount(struct fs_rig *fs_rig, ops_rig_body *body, void *arg);
// As ops_rig_mount(), but the server is killed after the body.
void ops_rig_mount_killed(struct fs_rig *fs_rig, ops_rig_body *body, void *arg);
void ops_rig_test(const struct fs_rig_options *options, ops_rig_body *body);

struct ops_name n(const char *name);

uint32_t rig_create(struct ops_rig *rig, uint32_t parent, const char *name);
uint32_t rig_mkdir(struct ops_rig *rig, uint32_t parent, const char *name);
void rig_forget(struct ops_rig *rig, uint32_t ino);         // one lookup
struct ops_attr rig_attr(struct ops_rig *rig, uint32_t ino);
// 0 and no lookup counted, or the error.
int rig_find(struct ops_rig *rig, uint32_t parent, const char *name, uint32_t *ino);
void rig_write(struct ops_rig *rig, uint32_t ino, uint64_t off, const char *text);
// The file's text is exactly this.
void rig_expect_text(struct ops_rig *rig, uint32_t ino, const char *text);
void rig_sleep(struct ops_rig *rig, uint64_t seconds);      // of the simulator's clock
int rig_chattr(struct ops_rig *rig, uint32_t ino, uint32_t set, uint32_t clear);
int rig_setattr(struct ops_rig *rig, uint32_t ino, struct ops_setattr set);
uint64_t rig_free_inodes(struct ops_rig *rig);              // when everything pending is done
