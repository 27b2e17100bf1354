// SPDX-License-Identifier: MIT
// relay.h - a process that makes the system calls whose end may depend on the server.
//
// There are two. The kernel deals with some notifications inside the write(2) to /dev/fuse, and may
// need answers from the server for that. And syncfs(2) of the mount, which makes the kernel send all
// its dirty pages to the server. In a thread of the server such a call could not end once the server
// is killed, nor could then the server: its successor, who has the answers, would wait for its death.
// So the caller is a process of its own that outlives servers. It knows nothing of the bytes. What
// it is asked and what it answers is in link.h.
#pragma once

#include "base/types.h"

// Starts it; it ends by itself when nobody holds *server_end any more. Its pid, or a negative errno.
MUST_USE int relay_start(int fuse_fd, const char *mountpoint, int *server_end);
