// SPDX-License-Identifier: MIT
// client.h - a client: does random operations, knows from its model what each must answer.
#pragma once

#include "model.h"
#include "world.h"

#define CLIENT_NODES_MAX 4096

enum task_kind {
    TASK_NONE, TASK_MAKE, TASK_LINK, TASK_UNLINK, TASK_RMDIR, TASK_RENAME, TASK_SETATTR, TASK_SETXATTR, TASK_REMOVEXATTR,
    TASK_WRITE, TASK_RESIZE, TASK_FALLOCATE, TASK_READ, TASK_FSYNC, TASK_SYNC,
};

// The request under way: all that it takes to ask again, as the kernel asks a successor, and to
// judge the answer.
struct task {
    enum task_kind kind;                    // TASK_NONE: no request is under way
    struct mop op;                          // what it changes, if it does
    bool changes;                           // op counts
    uint32_t parent_ino, parent2_ino, ino;
    struct ops_caller caller;
    struct ops_setattr set;
    int64_t wanted;
    uint32_t off, len;
    int mode;                               // of fallocate
    uint8_t *bytes;                         // of write: own
    uint32_t keep_open;                     // make: slot + 1; 0: the lookup is given back at once
    bool datasync;
    uint32_t durable_ops, durable_version;  // fsync: what it makes durable
    uint32_t *durable_versions;             // sync: of each node, counted from 1; own
    uint32_t durable_nodes;
    uint32_t touched[4], touched_count;     // nodes whose times move
    struct ops_answer answer;               // the door's record
    uint32_t deliveries;
};

struct client {
    struct world *world;
    uint32_t number;
    uint64_t random;                // its own chance, so that models replay without the world
    struct model now;               // after all operations that were answered
    struct model base;              // after those known durable
    struct mop *log;                // operations between base and now, in order
    uint32_t log_count, log_capacity;
    struct task task;
    uint64_t request;               // number of the task
    struct mcontent content[CLIENT_NODES_MAX];      // by node id; files only
    uint32_t open[4];               // node ids held open (lookups kept), 0: none
    uint32_t ops_left;
    bool faults;                    // the disk errs: EIO and EROFS are answers, too
    bool gave_up;                   // had one; does nothing more before the next power cut
    uint64_t resent, from_record;   // requests that came again; answered from their record
    bool failed;
    char story[512];                // what went wrong
    bool verbose;
};

void client_init(struct client *client, struct world *world, uint32_t number, uint64_t seed, uint32_t own_ino, uint32_t shared_ino);
void client_fini(struct client *client);
// On a fibre: does ops_left operations, or stops at the first wrong answer (failed, story).
YIELDS void client_run(struct client *client);
// All clients' operations answered so far are durable (sync returned, or a clean unmount).
void client_all_durable(struct client *client);
// On a fibre, after a take-over: the request that the dead server did not answer comes again.
YIELDS void client_resend(struct client *client);
// The door's part in a take-over.
bool client_knows(const struct client *client, uint32_t ino);
void client_applied(struct client *client, const struct plog_entry *entry);
// On a fibre, after a boot that followed a power cut: finds the prefix of operations that the
// volume shows and makes it the present; open handles are gone. False with a story if there is none.
YIELDS bool client_recover(struct client *client);
// On a fibre: compares everything, exactly.
YIELDS bool client_compare(struct client *client);
