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
#define CONTROL_VERSION 2u
#define CONTROL_TEXT_MAX (60u << 10)
#define CONTROL_PATH_MAX 4096
#define CONTROL_BUCKETS 14
#define CONTROL_DIR_MAX 160

enum control_op {
    CONTROL_STATUS = 1,             // text: the server's half, JSON; empty when it does not answer
    CONTROL_CRASH,                  // kill the server
    CONTROL_HANG,                   // stop it
    CONTROL_WAIT,                   // answered when the mount has ended: rc, and why in text
    CONTROL_UPGRADE,                // hand over to the program found on disk now; text: what came of it
    CONTROL_INJECT,                 // a fault that the server itself brings about; text: what it did
};

// Faults on purpose (drover inject).
enum control_fault { CONTROL_FAULT_CRASH = 1, CONTROL_FAULT_FLIP, CONTROL_FAULT_POISON, CONTROL_FAULT_CLEAR };
// Where to crash: as enum rt_probe, in its order.
enum control_point {
    CONTROL_POINT_PLAN, CONTROL_POINT_APPLY, CONTROL_POINT_REPLY, CONTROL_POINT_COMMIT, CONTROL_POINT_CHECKPOINT,
    CONTROL_POINT_RECOVERY, CONTROL_POINTS
};
enum control_region {
    CONTROL_HEAP, CONTROL_METADATA, CONTROL_PLOG, CONTROL_DATA, CONTROL_STACK, CONTROL_DESCRIPTORS, CONTROL_REGIONS
};
// What a person calls them; NULL ends the list.
extern const char *const control_point_names[CONTROL_POINTS + 1], *const control_region_names[CONTROL_REGIONS + 1];

struct control_inject {
    uint32_t fault;                 // enum control_fault
    uint32_t point, after;          // crash: at the pass of this point that `after` others precede
    uint32_t region, count;         // flip: so many bits ...
    uint32_t operation;             // poison: FUSE opcode ...
    uint64_t seed;                  // ... drawn from this
    uint64_t ino;                   // ... of this inode
};

// Behind it, for CONTROL_INJECT only: struct control_inject.
struct control_ask {
    uint32_t magic, version;
    uint32_t op;
    uint32_t unused;
};

struct control_state {
    int32_t guardian_pid, server_pid, standby_pid;      // 0: none; a standby that is not ready is none
    uint32_t generation;            // of the server that runs now
    uint32_t recoveries;
    double pause_p50_ms, pause_p99_ms, pause_max_ms;    // of the last recoveries
    uint64_t aim_act, aim_ignore, aim_modify;           // of all recoveries, as successors count them
    uint64_t pages_recovered, distrusted, poisoned, mended;
    uint64_t crashes, damage;       // servers that died of their own fault; of these, of memory that had changed
    uint32_t pause_buckets[CONTROL_BUCKETS];            // of the last recoveries, see control_bucket_ms
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

// A bucket counts the pauses that are not longer than this, and longer than that of the bucket before it. The
// last one is infinite.
extern const double control_bucket_ms[CONTROL_BUCKETS];

// The directory of sockets: $DROVER_RUN_DIR, /run/drover for root, else one of the user's own.
void control_dir(char out[CONTROL_DIR_MAX]);
// As above, and made if it is not there.
MUST_USE int control_dir_make(char out[CONTROL_DIR_MAX], struct err *err);
// `<dir>/<id><suffix>` for a mount point (an absolute path without links); at most 108 bytes.
void control_path(const char *mountpoint, const char *suffix, char out[CONTROL_PATH_MAX]);

// Connects to a socket of that directory. A descriptor; -ECONNREFUSED, -ENOENT when nobody is there.
MUST_USE int control_connect(const char *socket_path);
MUST_USE int control_send(int fd, enum control_op op);
MUST_USE int control_send_inject(int fd, const struct control_inject *inject);
// Waits for the answer, at most timeout_ms (-1: for ever). `text` (may be NULL) gets CONTROL_TEXT_MAX
// bytes at most, and a NUL. 0, -ETIMEDOUT, -EPIPE when the guardian went away, -EPROTO.
MUST_USE int control_receive(int fd, int timeout_ms, struct control_answer *answer, char *text);
