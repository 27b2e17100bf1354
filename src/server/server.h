// SPDX-License-Identifier: MIT
// server.h - what the files of the server share: one volume, one worker, one door.
#pragma once

#include "base/err.h"
#include "front/fuse/fuse_door.h"
#include "guardian/handoff.h"
#include "guardian/legacy.h"
#include "guardian/link.h"
#include "rt/rt_uring.h"

struct buf_cache;
struct dev;
struct fs;
struct ops;
struct page_pool;
struct shepherd;

struct server {
    const struct handoff *handoff;
    struct legacy *legacy;
    struct rt *rt;
    struct dev *dev;
    struct shepherd *shep;
    struct buf_cache *bufs;
    struct page_pool *pages;
    struct fs *fs;                  // NULL until mounted
    struct ops *ops;
    struct fuse_door *door;

    bool guardian_gone;
    bool may_go, must_stop, mount_is_gone;      // what the waiting life fibre waits for
    int gone_error;
    uint64_t kernel_dirty_max;      // what the kernel may hold dirty for the mount, in bytes; 0: not known
    struct waitq news;

    bool living;                    // false: fibres of the server itself come to their end
    struct waitq beat_wake;

    uint64_t relay_tag;             // of the question that is out; 0: none
    int relay_rc;
    struct waitq relay_answered;

    int exit_code;
};

// --- life.c: mount, serve, unmount ------------------------------------------------------------
void life_start(struct server *server);

// --- guardian_link.c --------------------------------------------------------------------------
MUST_USE int guardian_link_open(struct server *server);
void guardian_link_close(struct server *server);
void guardian_tell(struct server *server, enum link_kind kind, int rc, const char *text);

// --- relay_client.c ---------------------------------------------------------------------------
MUST_USE int relay_client_open(struct server *server);
void relay_client_close(struct server *server);
// Has `bytes` written to /dev/fuse by the relay; yields until it is done. One at a time. -EPIPE: it
// is gone.
int relay_notify(void *server, const void *bytes, size_t len);
// The same without waiting.
int relay_post(void *server, const void *bytes, size_t len);
// Has the relay call syncfs(2); yields until it is done or, once a second, `more` says no more.
int relay_sync(void *server, bool (*more)(void *of), void *of);

// --- status.c ---------------------------------------------------------------------------------
// The server's half of `drover status --json`; to be freed. NULL when memory is short.
char *status_json(const struct server *server);

// --- sandbox.c --------------------------------------------------------------------------------
// Becomes the user of the handoff, and gives up every system call that serving does not need.
MUST_USE int sandbox_enter(const struct handoff *handoff, struct err *err);
