// SPDX-License-Identifier: MIT
// fuse_rig.h - a made-up kernel for tests of the door: the other end of a socket.
#pragma once

#include "front/fuse/fake_ops.h"
#include "front/fuse/fuse_decode.h"
#include "front/fuse/fuse_door.h"
#include "front/fuse/fuse_record.h"
#include "rt/rt_uring.h"

#define ANSWER_MAX ((1u << 20) + 4096)
#define RELAY_PID 77u
#define AGREED {.minor = 45, .max_write = 1 << 20, .flags = FUSE_SETXATTR_EXT}     // by a predecessor

struct rig {
    struct rt_ring ring;
    struct rt *rt;
    struct fuse_door *door;
    int kernel;                     // the kernel's end
    struct fuse_agreed agreed;
    volatile uint64_t received, answered, poisoned;
    bool serving, gone;
    uint8_t *answer;                // the last one
    size_t answer_len;
    uint64_t unique;
    uint32_t pid;                   // of who asks
    // What the door is to be told.
    uint64_t dirty_max;             // what the kernel may hold dirty
    int relay_rc, notify_rc;
    bool notify_waits;              // until this is over
    bool distrusted;
    uint32_t epoch;
    struct fuse_record *records;
    void (*on_request)(void *rig, uint32_t opcode, uint32_t ino);
    void (*probe)(void *rig, enum rt_probe point);
};

void open_rig(struct rig *r, bool successor);
void close_rig(struct rig *r);
// Lets the loop run until nothing moves.
void turn(struct rig *r);
// Sends one request and takes the answer. The error in it, or 1 when there was no answer.
int ask(struct rig *r, uint32_t opcode, uint64_t nodeid, const void *body, size_t len);
const void *answer(const struct rig *r);
// INIT.
void greet(struct rig *r);
