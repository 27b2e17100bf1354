// SPDX-License-Identifier: MIT
// control.h - how commands talk to a guardian: one packet each way over a Unix socket.
//
// /run/drover/<id>.sock is a mount's socket (SOCK_SEQPACKET), /run/drover/<id>.log its log; <id> is
// made from the mount point. Scanning the directory gives all mounts of the machine. A client sends
// one struct control_ask and reads one struct control_answer with text behind it. Everybody may ask
// for the status, only root and the guardian's own user for the rest.
#pragma once

#include "base/err.h"
#include "base/types.h"

#define CONTROL_MAGIC 0x64726376u           // "drcv"
#define CONTROL_VERSION 1u
#define CONTROL_TEXT_MAX (60u << 10)
#define CONTROL_PATH_MAX 4096
#define CONTROL_DIR_MAX 160

enum control_op {
    CONTROL_STATUS = 1,             // text: the server's half, JSON; empty when it does not answer
    CONTROL_CRASH,                  // kill the server
    CONTROL_HANG,                   // stop it
    CONTROL_WAIT,                   // answered when the mount has ended: rc, and why in text
};

struct control_ask {
    uint32_t magic, version;
    uint32_t op;
    uint32_t unused;
};

struct control_state {
    int32_t guardian_pid, server_pid;
    uint32_t generation;            // of the server that runs now
    uint32_t recoveries;
    double pause_p50_ms, pause_p99_ms, pause_max_ms;    // of the last recoveries
    bool serving, read_only;
    char disk[CONTROL_PATH_MAX];
    char mountpoint[CONTROL_PATH_MAX];
    char log[CONTROL_PATH_MAX];
};

struct control_answer {
    uint32_t magic, version;
    int32_t rc;                     // 0 or a negative errno
    uint32_t text_len;              // bytes that follow
    struct control_state state;
};

// The directory of sockets: $DROVER_RUN_DIR, /run/drover for root, else one of the user's own.
void control_dir(char out[CONTROL_DIR_MAX]);
// As above, and made if it is not there.
MUST_USE int control_dir_make(char out[CONTROL_DIR_MAX], struct err *err);
// `<dir>/<id><suffix>` for a mount point (an absolute path without links); at most 108 bytes.
void control_path(const char *mountpoint, const char *suffix, char out[CONTROL_PATH_MAX]);

// Connects to a socket of that directory. A descriptor; -ECONNREFUSED, -ENOENT when nobody is there.
MUST_USE int control_connect(const char *socket_path);
MUST_USE int control_send(int fd, enum control_op op);
// Waits for the answer, at most timeout_ms (-1: for ever). `text` (may be NULL) gets CONTROL_TEXT_MAX
// bytes at most, and a NUL. 0, -ETIMEDOUT, -EPIPE when the guardian went away, -EPROTO.
MUST_USE int control_receive(int fd, int timeout_ms, struct control_answer *answer, char *text);
