// SPDX-License-Identifier: MIT
// client.h - a client: does random operations, knows from its model what each must answer.
#pragma once

#include "model.h"
#include "world.h"

#define CLIENT_NODES_MAX 4096

struct client {
    struct world *world;
    uint32_t number;
    uint64_t random;                // its own chance, so that models replay without the world
    struct model now;               // after all operations that were answered
    struct model base;              // after those known durable
    struct mop *log;                // operations between base and now, in order
    uint32_t log_count, log_capacity;
    struct mop pending;             // asked, not answered: a crash may have done it or not
    bool is_pending;
    struct mcontent content[CLIENT_NODES_MAX];      // by node id; files only
    uint32_t pending_content;       // content version not yet answered, of this node (or 0)
    uint32_t open[4];               // node ids held open (lookups kept), 0: none
    uint32_t file_count;
    uint32_t ops_left;
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
// On a fibre, after a boot that followed a power cut: finds the prefix of operations that the
// volume shows and makes it the present; open handles are gone. False with a story if there is none.
YIELDS bool client_recover(struct client *client);
// On a fibre: compares everything, exactly.
YIELDS bool client_compare(struct client *client);
