// SPDX-License-Identifier: MIT
// server.h - what the files of the server share: one volume, one worker, one door.
#pragma once

#include "base/err.h"
#include "front/fuse/fuse_door.h"
#include "guardian/handoff.h"
#include "guardian/legacy.h"
#include "guardian/link.h"
#include "plog/plog.h"
#include "rt/rt_uring.h"

#define WARM_SLOTS 4u               // of the door, made by a standby

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
    struct plog plog;               // head NULL: plog=off
    struct fs *fs;                  // NULL until mounted
    struct ops *ops;
    struct fuse_door *door;

    bool recovers;                  // it closes the state gap of a predecessor
    bool alone;                     // from the disk alone: what a predecessor had told may be lost
    bool log_is_damaged;            // found while mounting
    bool landed;                    // the predecessor's last writes succeeded (rt_fence)
    uint64_t began_ns;              // when it woke up, or was started
    bool guardian_gone;
    bool may_go, must_stop, mount_is_gone;      // what the waiting life fibre waits for
    int gone_error;
    uint64_t kernel_dirty_max;      // what the kernel may hold dirty for the mount, in bytes; 0: not known
    struct waitq news;

    bool living;                    // false: fibres of the server itself come to their end
    struct waitq beat_wake;
    struct waitq warm;              // standby.c
    uint8_t *slot_memory;           // for the door's first slots; NULL: it makes them itself
    struct rt_group after;          // what is done when it serves already

    uint64_t relay_tag;             // of the question that is out; 0: none
    int relay_rc;
    struct waitq relay_answered;

    int exit_code;

    int maps_fd;                    // /proc/self/maps (inject.c)
    bool inject_dies;               // when the order is answered
};

uint64_t server_now_ns(void);       // also where no loop turns

// --- standby.c: before it owns the mount ---------------------------------------------------------
// Waits until the owner has died, and owns the mount then. Does not return when that ended in order.
void standby_wait(struct server *server);

// --- legacy.c: what predecessors left -------------------------------------------------------------
MUST_USE int legacy_map(struct server *server, struct err *err);
// The owner's first deed: judges the predecessor's death.
void legacy_own(struct server *server);
// Log and pages, a predecessor's or new ones.
MUST_USE int legacy_open(struct server *server, struct err *err);
// What it left cannot be believed: the next server starts from the disk alone.
void legacy_distrust(struct server *server, const char *why);
// An entry of the log says that a request was applied (recover.h).
void legacy_applied(void *server, const struct plog_entry *entry);

// --- life.c: mount, serve, unmount ------------------------------------------------------------
void life_start(struct server *server);
// A successor of another version waits: finishes what it has begun, and exits.
void life_hand_over(struct server *server);

// --- guardian_link.c --------------------------------------------------------------------------
MUST_USE int guardian_link_open(struct server *server);
void guardian_link_close(struct server *server);
void guardian_tell(struct server *server, enum link_kind kind, int rc, const char *text);
void guardian_tell_serving(struct server *server);

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

// --- crash_server.c ---------------------------------------------------------------------------
// Catches deadly signals (crash.h). The legacy and the worker are there, files can still be opened.
void crash_open(struct server *server);

// --- status.c ---------------------------------------------------------------------------------
// The server's half of `drover status --json`; to be freed. NULL when memory is short.
char *status_json(const struct server *server);

// --- sandbox.c --------------------------------------------------------------------------------
// Becomes the user of the handoff, leaves no core file (which would delay its end), and gives up every system call that serving does not need.
MUST_USE int sandbox_enter(const struct handoff *handoff, struct err *err);
