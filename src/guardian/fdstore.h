// SPDX-License-Identifier: MIT
// fdstore.h - what systemd keeps for the guardian's own successor (sd_notify(3), FDSTORE=1).
//
// When the manager started us and lets itself be notified, it gets copies of all that must not be closed: the
// claim on the disk, /dev/fuse, legacy, a memfd with what the guardian knows besides (struct kept), and a pidfd
// of every server. When the guardian dies, the manager starts another and hands it these. That one ends
// whatever server is left, whose words it would never have heard, waits until its I/O is over (disk.c; a ring
// cannot be passed on), and starts a successor as after any death.
//
// Without a manager all of this does nothing: then the server outlives its guardian, and nobody comes after it.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct guardian;
struct server;

struct fdstore {
    char socket[108];               // "": nobody to notify
    int state_fd;                   // struct kept
    bool filled;
};

// Reads and removes the environment's words. Before any process is started.
void fdstore_open(struct guardian *g);
// Takes over what a predecessor left. 1: there was something, and its servers are dead; 0: nothing; or a
// negative errno with a sentence.
MUST_USE int fdstore_adopt(struct guardian *g, struct err *err);

void fdstore_put_all(struct guardian *g);       // the mount is there
void fdstore_put_pid(struct guardian *g, const struct server *s);
void fdstore_drop_pid(struct guardian *g, int pid);
void fdstore_save(struct guardian *g);          // what a successor needs to know has changed
void fdstore_ready(const struct guardian *g);   // READY=1
void fdstore_clear(struct guardian *g);         // all is over: nothing is to be kept
