// SPDX-License-Identifier: MIT
// guardian.h - what the files of the guardian share: one mount and the server that serves it.
//
//              spawn            LINK_READY           LINK_SERVING
//     (none) ────────▶ STARTING ──────────▶ MOUNTED ─────────────▶ SERVING
//                         ▲                    │                      │
//                         └──── died, hung ────┴──────────────────────┤
//                                                                     │ LINK_ENDED
//                                                                     ▼
//                                                                   ENDED ──▶ exit
#pragma once

#include "base/err.h"
#include "guardian/control.h"
#include "guardian/disk.h"
#include "guardian/legacy.h"
#include "guardian/link.h"
#include "guardian/options.h"
#include "rt/rt_uring.h"

#define CLIENTS_MAX 32
#define PAUSES_MAX 512
#define QUICK_DEATHS 5              // so many without serving ...
#define OWN_CRASHES 50              // ... or so many by its own fault
#define BRAKE_NS 10000000000ull     // within this time, and the guardian gives up

enum server_state { SERVER_NONE, SERVER_STARTING, SERVER_MOUNTED, SERVER_SERVING, SERVER_ENDED };

// When something happened, for the last `limit` times.
struct deaths {
    uint64_t at_ns[OWN_CRASHES];
    uint32_t count;
};

struct server {
    enum server_state state;
    pid_t pid;                      // 0: none
    int pidfd, link_fd;
    uint32_t generation;
    uint64_t received_before, answered_before;  // the legacy's counters when it was started
    bool was_killed_by_us;          // a hang, or an injected crash
    uint64_t beat_seen;             // the hang watch: last beat, and for how long it has stood still
    uint64_t still_ns;
    uint64_t looked_ns;
};

struct client {
    int fd;                         // -1: free
    bool may_inject;
    bool waits;                     // CONTROL_WAIT
    uint32_t ask;                   // number of a status question that the server has; 0: none
    uint64_t deadline_ns;
};

struct guardian {
    struct options opt;
    char server_path[CONTROL_PATH_MAX];
    struct disk disk;
    struct rt_ring ring;
    struct legacy *legacy;
    int fuse_fd, legacy_fd, log_fd, relay_fd, signal_fd, listen_fd;
    pid_t relay_pid, unmount_pid;
    uint32_t uid, gid;
    bool drop_privileges, must_drop;
    uint64_t cache_bytes;
    uint32_t kernel_dirty_kib;      // what the kernel may hold dirty for the mount

    struct server server;
    bool mounted;                   // mount(2) has been done
    bool was_serving;               // `drover mount` has been told
    bool over;                      // nothing more to watch
    int end_rc;
    char end_text[800];
    uint64_t pause_began_ns;        // 0: no recovery under way
    double pauses_ms[PAUSES_MAX];
    uint32_t pause_count;           // all of them; the last PAUSES_MAX are kept
    uint32_t recoveries;
    struct deaths quick, own;
    uint64_t restart_at_ns;         // when there is no server: not before

    char socket_path[CONTROL_PATH_MAX], log_path[CONTROL_PATH_MAX];
    struct client clients[CLIENTS_MAX];
    uint32_t asked;
    uint8_t packet[sizeof(struct control_answer) + LINK_TEXT_MAX];      // room for any message
};

uint64_t guardian_now_ns(void);

// --- spawn.c ----------------------------------------------------------------------------------
// Finds the server's program beside ours; a sentence when there is none.
MUST_USE int spawn_find_server(struct guardian *g, struct err *err);
// Starts the next server. 0 or a negative errno.
MUST_USE int spawn_server(struct guardian *g);

// --- watch.c ----------------------------------------------------------------------------------
// Serves until the mount has ended. 0, or 1 after a failure that was reported.
int watch_run(struct guardian *g);
void watch_kill_server(struct guardian *g, int signal);

// --- clients.c --------------------------------------------------------------------------------
MUST_USE int clients_listen(struct guardian *g, struct err *err);
void clients_accept(struct guardian *g);
void clients_read(struct guardian *g, struct client *client);
// The server answered a status question; text is its JSON.
void clients_status(struct guardian *g, uint32_t ask, const void *text, size_t len);
void clients_expire(struct guardian *g, uint64_t now_ns);
// Answers whoever waits for the end, and closes all.
void clients_end(struct guardian *g);
