// SPDX-License-Identifier: MIT
// guardian.h - what the files of the guardian share: one mount and the server that serves it.
//
//              spawn            LINK_READY           LINK_SERVING
//     (none) ────────▶ STARTING ──────────▶ MOUNTED ─────────────▶ SERVING
//                         ▲                  ▲ │                      │
//                         └──── died, hung ──┼─┴──────────────────────┤
//                                            │                        │ LINK_ENDED
//     standby: STARTING ──▶ WAITING ─────────┘ LINK_TAKING            ▼
//                                                                   ENDED ──▶ exit
//
// A server whose successor has taken over while its memory is still taken down is a corpse.
#pragma once

#include "base/err.h"
#include "guardian/control.h"
#include "guardian/disk.h"
#include "guardian/fdstore.h"
#include "guardian/legacy.h"
#include "guardian/link.h"
#include "guardian/options.h"
#include "rt/rt_uring.h"

#define CLIENTS_MAX 32
#define PAUSES_MAX 4096
#define QUICK_DEATHS 5              // so many without serving ...
#define OWN_CRASHES 50              // ... or so many by its own fault
#define OUTSIDE_DEATHS 20           // killed from outside before they served: then slower
#define BRAKE_NS 10000000000ull     // within this time, and the guardian gives up

#define CORPSES_MAX 6

enum server_state { SERVER_NONE, SERVER_STARTING, SERVER_WAITING, SERVER_MOUNTED, SERVER_SERVING, SERVER_ENDED };

// When something happened, for the last `limit` times.
struct deaths {
    uint64_t at_ns[OWN_CRASHES];
    uint32_t count;
};

struct server {
    enum server_state state;
    pid_t pid;                      // 0: none
    int pidfd, link_fd;
    uint32_t generation;            // all that are started are counted, standbys too
    char version[48];               // as it says itself
    uint64_t received_before, answered_before;  // the legacy's counters when it was started
    bool was_killed_by_us;          // a hang, or the end of an upgrade
    bool hands_over;                // it was told to
    bool is_new;                    // it was started by an upgrade, and has not served yet
    uint64_t since_ns;              // it was started, took over, or was told to hand over
    uint64_t beat_seen;             // the hang watch: last beat, and for how long it has stood still
    uint64_t still_ns;
    uint64_t looked_ns;
    uint64_t deaf_ns;               // for how long a question has waited for an answer
    bool asked;                     // a question was put, and it has said nothing since
};

struct client {
    int fd;                         // -1: free
    bool may_inject;
    bool waits;                     // CONTROL_WAIT
    bool upgrades;                  // CONTROL_UPGRADE
    bool injects;                   // CONTROL_INJECT; `ask` is its number
    uint32_t generation;            // of the server that was asked to
    uint32_t ask;                   // number of a status question that the server has; 0: none
    uint64_t deadline_ns;
};

// A server that nobody needs any more, until the kernel has done with it.
struct corpse {
    struct server server;           // pid 0: none
    bool was_serving, stuck;        // when it died
    bool judged;                    // its death is no news
};

struct guardian {
    struct options opt;
    struct fdstore store;
    char server_path[CONTROL_PATH_MAX];
    int server_fd;                  // the program, open: what is installed meanwhile is not what runs (upgrade.c)
    struct disk disk;
    struct rt_ring ring;
    struct legacy *legacy;
    int fuse_fd, legacy_fd, log_fd, relay_fd, signal_fd, listen_fd;
    pid_t relay_pid, unmount_pid;
    uint32_t uid, gid;
    bool drop_privileges, must_drop;
    uint64_t cache_bytes;
    uint32_t kernel_dirty_kib;      // what the kernel may hold dirty for the mount

    uint32_t generations;
    struct server server, standby;
    struct server candidate;        // the upgrade's standby
    struct corpse corpses[CORPSES_MAX];
    char candidate_path[CONTROL_PATH_MAX];
    int candidate_fd;
    char upgrade_from[48];          // the version that an upgrade under way is to replace; "": none is
    uint64_t standby_at_ns;         // not before: the brake of standbys that die
    uint32_t standby_deaths;        // in a row
    uint64_t heir_by_ns;            // no server, but a standby that shall take over by then; 0: none
    bool mounted;                   // mount(2) has been done
    bool was_serving;               // `drover mount` has been told
    bool over;                      // nothing more to watch
    int end_rc;
    char end_text[800];
    uint64_t pause_began_ns;        // 0: no recovery under way
    uint32_t pause_attempts;        // servers that tried to end it
    bool pause_is_of_hang;
    const char *pause_cause;        // killed, crashed, hung, failed
    double pauses_ms[PAUSES_MAX];
    uint32_t pause_count;           // all of them; the last PAUSES_MAX are kept
    uint32_t recoveries;
    struct { uint64_t act, ignore, modify, pages; } seen;       // the legacy's counters after the last recovery
    struct deaths quick, own, outside;
    uint64_t restart_at_ns;         // when there is no server: not before

    char socket_path[CONTROL_PATH_MAX], log_path[CONTROL_PATH_MAX];
    struct client clients[CLIENTS_MAX];
    uint32_t asked;
    uint8_t packet[sizeof(struct control_answer) + LINK_TEXT_MAX];      // room for any message
};

uint64_t guardian_now_ns(void);

// --- spawn.c ----------------------------------------------------------------------------------
// Finds the server's program beside ours, and opens it: a descriptor, or a sentence when there is none.
MUST_USE int spawn_find_server(char path[CONTROL_PATH_MAX], struct err *err);
// Starts the next server, or a standby for the one that runs. 0 or a negative errno.
MUST_USE int spawn_server(struct guardian *g);
MUST_USE int spawn_standby(struct guardian *g, struct server *out, int program_fd);

// --- watch.c ----------------------------------------------------------------------------------
// Serves until the mount has ended. 0, or 1 after a failure that was reported.
int watch_run(struct guardian *g);
// Takes in what `s` has said. False when there was nothing.
bool watch_read_link(struct guardian *g, struct server *s);
// A question is on its way to the server, which is expected to answer within the time of a hang.
void watch_asked(struct guardian *g);
// The mount is over, for good or ill.
void watch_end(struct guardian *g, int rc, const char *text);

// --- succession.c -----------------------------------------------------------------------------
void succession_kill(struct guardian *g, struct server *s);
// Something died: the server, a standby, a corpse. What comes next.
void succession_server_died(struct guardian *g);
void succession_standby_died(struct guardian *g, struct server *s);
void succession_corpse_died(struct guardian *g, struct corpse *corpse);
// A standby says that it owns the mount, and how the last owner had died (enum legacy_death).
void succession_taken(struct guardian *g, struct server *s, uint32_t death);
void succession_serving(struct guardian *g, uint64_t told_ns);     // told_ns: the pause as it says
// A standby is not needed any more.
void succession_put_aside(struct guardian *g, struct server *s);
// What is due: a server, a standby, the end of somebody's time.
void succession_turn(struct guardian *g, uint64_t now_ns);
// Kills and buries whoever is left.
void succession_end(struct guardian *g);

// --- upgrade.c --------------------------------------------------------------------------------
// Starts a standby from the program on disk. -errno with a sentence, or 0: the client is told later.
MUST_USE int upgrade_begin(struct guardian *g, struct err *err);
void upgrade_failed(struct guardian *g, int rc, const char *why);
void upgrade_serving(struct guardian *g, double pause_ms);
// When the candidate is ready and the server serves, it is told to hand over.
void upgrade_turn(struct guardian *g, uint64_t now_ns);

// --- clients.c --------------------------------------------------------------------------------
MUST_USE int clients_listen(struct guardian *g, struct err *err);
void clients_accept(struct guardian *g);
void clients_read(struct guardian *g, struct client *client);
// The server answered a status question; text is its JSON.
void clients_status(struct guardian *g, uint32_t ask, const void *text, size_t len);
// The server did what was asked for over LINK_INJECT, or says why not.
void clients_injected(struct guardian *g, uint32_t ask, int rc, const void *text, size_t len);
// Tells whoever asked for an upgrade.
void clients_upgraded(struct guardian *g, int rc, const char *text);
void clients_expire(struct guardian *g, uint64_t now_ns);
// Answers whoever waits for the end, and closes all.
void clients_end(struct guardian *g);
