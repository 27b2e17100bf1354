// SPDX-License-Identifier: MIT
// inject.h - faults on purpose (`drover inject`), as far as the server itself brings them about.
//
//     crash at a point   the legacy says where and after how many passes; the hook of rt_probe() counts, and
//                        dies as if killed. It survives servers, and is forgotten when it fires.
//     poison             the legacy says which operation on which inode is deadly; until it is cleared
//     flip               bits of this server's memory, at once (flip.c)
#pragma once

#include "base/types.h"
#include "guardian/control.h"

struct server;

#define INJECT_TEXT_MAX 200u

// Before files can no longer be opened. `legacy` and `rt` are there.
void inject_open(struct server *server);
// Does what a person asked for: 0 or a negative errno, and a sentence in either case.
int inject_obey(struct server *server, const struct control_inject *inject, char text[INJECT_TEXT_MAX]);
// That was answered: a crash at recovery, which needs a recovery, begins here.
void inject_answered(struct server *server);
// For fuse_door_config.on_request.
void inject_on_request(void *server, uint32_t opcode, uint32_t ino);
