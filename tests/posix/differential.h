// SPDX-License-Identifier: MIT
// differential.h - what the files of `differential` share: two sides, one call, two answers.
//
// A side is a directory that the process takes for its root while it acts there. A call is drawn once,
// by numbers from the seed, and made on either side; everything that a program could see of it goes
// into an answer, and two answers are equal or the test has found something.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SLOTS = 10, PATH_ROOM = 5000, OUT_ROOM = 70000, TEXT_ROOM = 11000 };

struct side {
    const char *name;
    int root, cwd;              // O_PATH
    int fds[SLOTS];             // -1: closed
};

struct user {
    uid_t uid;
    gid_t gid;
    int group_count;
    gid_t groups[2];
};

// Everything is drawn for every call, used or not: the numbers of a seed mean the same for each kind.
struct call {
    const struct kind *kind;
    const struct user *user;
    bool by_fsuid;              // setfsuid() only, which keeps more capabilities than seteuid()
    mode_t umask;
    char path[2][PATH_ROOM];
    int dir_slot[2];            // -1: relative to the current directory
    int slot[2];
    mode_t mode;
    int open_flags;
    uid_t uid;
    gid_t gid;
    int64_t off[2], size;       // size: of files
    uint32_t len;               // of buffers
    uint32_t dice[4];           // for choices of a kind's own
};

struct answer {
    long ret;                   // descriptors are told as 0
    int err;
    size_t len;                 // of out
    uint8_t out[OUT_ROOM];
    char text[TEXT_ROOM];       // the call, for people
};

struct kind {
    const char *name;
    unsigned weight;
    void (*run)(const struct call *call, struct side *side, struct answer *answer);
    bool silent_clock;          // FUSE cannot tell the kernel which times moved (docs/decisions/0003)
};

// With fallocate() there are blocks of which only the cache knows whether they are data or a hole; a
// store through a mapping allocates for as much as the cache holds in one piece. Odd seeds have both,
// even seeds compare blocks and holes instead.
extern bool with_unwritten;

uint32_t draw(uint32_t below);
void draw_call(struct call *call);

// A mode without what FUSE cannot compute: whether a stranger may leave a set-group-id bit that runs
// nothing depends on groups that no request tells (docs/decisions/0003).
mode_t comparable_mode(mode_t mode);
// What stat tells of an inode, as text; empty where it cannot be had.
size_t tell_stat(int dirfd, const char *path, int at_flags, char *out, size_t room);
// Everything below the two roots. Prints what differs; the number of differences.
int compare_trees(const struct side *a, const struct side *b);
