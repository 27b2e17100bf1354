// SPDX-License-Identifier: MIT
// client_internal.h - what the two files of the client share: client.c asks, client_compare.c looks at the volume.
#pragma once

#include <string.h>
#include <sys/stat.h>

#include "client.h"

#define S_DIR 0040000u

void client_fail(struct client *client, const char *fmt, ...) PRINTF_LIKE(2, 3);
void client_say(struct client *client, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool client_expect(struct client *client, const char *what, int64_t got, int64_t wanted);
// What is seen of the node now is what must be seen from now on.
YIELDS void client_look(struct client *client, uint32_t id);
YIELDS bool client_read_equals(struct client *client, uint32_t id, uint32_t off, uint32_t len);
void client_task_fini(struct client *client);

static inline struct ops_name name_of(const char *text)
{
    return (struct ops_name){.bytes = text, .len = strlen(text)};
}

static inline struct mnode *node(struct client *client, uint32_t id)
{
    return &client->now.nodes[id];
}

static inline bool is_file(struct client *client, uint32_t id)
{
    return (node(client, id)->mode & 0170000) == 0100000;
}

// Reads of a directory or file may move its access time; and whatever else is asked of a node.
static inline void seen_unsure(struct client *client, uint32_t id)
{
    client->now.nodes[id].seen.known = false;
}

static inline void seen_fill(struct mseen *seen, const struct ops_attr *attr)
{
    const struct ops_time times[] = {attr->atime, attr->mtime, attr->ctime, attr->btime};
    *seen = (struct mseen){.known = true, .generation = attr->generation};
    for (uint32_t i = 0; i < ARRAY_LEN(times); i++) {
        seen->sec[i] = times[i].sec;
        seen->nsec[i] = times[i].nsec;
    }
}

static inline bool is_held(struct client *client, uint32_t id)
{
    for (size_t i = 0; i < ARRAY_LEN(client->open); i++)
        if (id && client->open[i] == id)
            return true;
    return false;
}

static inline void forget(struct client *client, uint32_t ino)
{
    ops_forget(client->world->ops, ino, 1);
}
