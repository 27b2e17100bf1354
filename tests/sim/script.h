// SPDX-License-Identifier: MIT
// script.h - the AIM matrix's rows: what is done to a volume, step by step, as data.
//
// A script is a prologue (the objects are there, live or durable), one operation under test, an after (how
// durable it becomes), an alteration of what it relied on, and a tail that goes on using the volume. Steps
// name objects by label, as the kernel does by node id, whatever the server numbered them.
#pragma once

#include "base/types.h"

enum label { NOBODY, ROOT, P, Q, F, G, D, E, N, W, Z, LABELS };

enum step_kind {
    S_END,
    S_CREATE, S_MKNOD, S_MKDIR, S_SYMLINK, S_TMPFILE,   // label, parent, name; text: the target
    S_LINK,                         // label into parent, name
    S_UNLINK, S_RMDIR,              // parent, name
    S_RENAME,                       // parent, name, parent2, name2; a: flags
    S_WRITE,                        // label; a: off, b: len
    S_APPEND,                       // label; b: len
    S_FALLOCATE,                    // label; a: off, b: len, c: mode
    S_SETATTR,                      // label; a: set; b: mode, uid or size; c: time
    S_SETXATTR,                     // label, name; b: bytes; text: or these
    S_REMOVEXATTR,                  // label, name
    S_SETFLAGS,                     // label; a: flags
    S_READ,                         // label; a: off, b: len
    S_COPY,                         // from label; to label2; a: off, b: len
    S_FSYNC,                        // label
    S_SYNC,
    S_LOOKUP,                       // label is parent, name
    S_FORGET,                       // label: closed, and the kernel forgets it
};

struct step {
    enum step_kind kind;
    enum label label, parent;
    const char *name;
    enum label parent2;
    const char *name2;
    uint64_t a, b;
    int64_t c;
    const char *text;
};

#define SCRIPT_STEPS 40u
struct script {
    char name[128];
    uint32_t first;                 // of the operation under test: servers die from here on
    uint32_t count;
    struct step steps[SCRIPT_STEPS];
    bool old;                       // on the volume where the prologue was done by a server long ago
};

// How many there are, and the nth: operation x liveness x after x alteration.
uint32_t script_count(void);
void script_make(uint32_t nth, struct script *out);
// What the volume of `old` scripts was made by.
void script_prologue(struct script *out);
