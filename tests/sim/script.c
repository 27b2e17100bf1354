// SPDX-License-Identifier: MIT
// script.c - see script.h. The tables are the specification: a row is a name and its steps.
#include "script.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "ops/ops.h"

#define ROW_STEPS 10u
struct row {
    const char *name;
    struct step steps[ROW_STEPS];
    enum label self, parent;        // operations: what it made or changed, and where that is afterwards
    const char *at;
};

// --- the objects ------------------------------------------------------------------------------------

static const struct step prologue[] = {
    {S_MKDIR, P, ROOT, "p"}, {S_MKDIR, Q, ROOT, "q"},
    {S_CREATE, F, P, "f"}, {S_WRITE, F, .a = 0, .b = 6000},
    {S_CREATE, G, Q, "g"}, {S_WRITE, G, .a = 0, .b = 100},
    {S_MKDIR, D, P, "d"}, {S_MKDIR, E, Q, "e"},
    {S_SETXATTR, F, .name = "user.old", .b = 20},
};
static const struct step lookups[] = {
    {S_LOOKUP, P, ROOT, "p"}, {S_LOOKUP, Q, ROOT, "q"}, {S_LOOKUP, F, P, "f"}, {S_LOOKUP, G, Q, "g"},
    {S_LOOKUP, D, P, "d"}, {S_LOOKUP, E, Q, "e"},
};

static const struct row liveness[] = {
    {"live", {{S_END}}},
    {"durable", {{S_SYNC}}},
    {"committed", {{S_FSYNC, G}}},                              // names and sizes so far, not F's bytes
    {"touched", {{S_SYNC}, {S_WRITE, F, .a = 3000, .b = 6000}, {S_SETATTR, P, .a = OPS_SET_MODE, .b = 0700}, {S_WRITE, G, .a = 50, .b = 100}}},
    {"old", {{S_END}}},
};
#define LIVENESS_OLD 4u

// --- operations -------------------------------------------------------------------------------------

static const char long_target[] =
    "a/symbolic/link/that/is/longer/than/what/fits/into/an/inode/and/so/it/needs/a/block/of/its/own/on/the/disk";
static const char acl[] = "\2\0\0\0\1\0\6\0\377\377\377\377\2\0\4\0\350\3\0\0\4\0\4\0\377\377\377\377\20\0\4\0\377\377\377\377\40\0\0\0\377\377\377\377";

// Collapse and insert range are missing: no door has them, and one that is applied is durable before it is answered.
static const struct row operations[] = {
    {"create", {{S_CREATE, N, P, "n"}}, N, P, "n"},
    {"create-write", {{S_CREATE, N, P, "n"}, {S_WRITE, N, .a = 0, .b = 5000}}, N, P, "n"},
    {"mknod", {{S_MKNOD, N, P, "n"}}, N, P, "n"},
    {"mkdir", {{S_MKDIR, N, P, "n"}}, N, P, "n"},
    {"mkdir-inside", {{S_MKDIR, N, P, "n"}, {S_CREATE, Z, N, "zz"}}, N, P, "n"},
    {"symlink", {{S_SYMLINK, N, P, "n", .text = "short"}}, N, P, "n"},
    {"symlink-long", {{S_SYMLINK, N, P, "n", .text = long_target}}, N, P, "n"},
    {"link", {{S_LINK, F, Q, "l"}}, F, P, "f"},
    {"unlink-open", {{S_UNLINK, NOBODY, P, "f"}}, F, P, "f"},
    {"unlink-closed", {{S_FORGET, F}, {S_UNLINK, NOBODY, P, "f"}}, G, Q, "g"},
    {"unlink-one-of-two", {{S_LINK, F, Q, "l"}, {S_UNLINK, NOBODY, P, "f"}}, F, Q, "l"},
    {"rmdir", {{S_RMDIR, NOBODY, P, "d"}}, D, P, "d"},
    {"rmdir-closed", {{S_FORGET, D}, {S_RMDIR, NOBODY, P, "d"}}, F, P, "f"},
    {"rename", {{S_RENAME, NOBODY, P, "f", P, "f2"}}, F, P, "f2"},
    {"rename-across", {{S_RENAME, NOBODY, P, "f", Q, "f2"}}, F, Q, "f2"},
    {"rename-replace", {{S_RENAME, NOBODY, P, "f", Q, "g"}}, F, Q, "g"},
    {"rename-replace-closed", {{S_FORGET, G}, {S_RENAME, NOBODY, P, "f", Q, "g"}}, F, Q, "g"},
    {"rename-exchange", {{S_RENAME, NOBODY, P, "f", Q, "g", .a = 2}}, F, Q, "g"},
    {"rename-exchange-dir", {{S_RENAME, NOBODY, P, "f", Q, "e", .a = 2}}, E, P, "f"},
    {"rename-noreplace", {{S_RENAME, NOBODY, P, "f", Q, "f2", .a = 1}}, F, Q, "f2"},
    {"rename-whiteout", {{S_RENAME, NOBODY, P, "f", Q, "f2", .a = 4}}, F, Q, "f2"},
    {"rename-whiteout-replace", {{S_RENAME, NOBODY, P, "f", Q, "g", .a = 4}}, F, Q, "g"},
    {"rename-dir", {{S_RENAME, NOBODY, P, "d", P, "d2"}}, D, P, "d2"},
    {"rename-dir-across", {{S_RENAME, NOBODY, P, "d", Q, "d2"}}, D, Q, "d2"},
    {"rename-dir-over-dir", {{S_RENAME, NOBODY, P, "d", Q, "e"}}, D, Q, "e"},
    {"rename-twice", {{S_RENAME, NOBODY, P, "f", P, "t"}, {S_RENAME, NOBODY, Q, "g", P, "f"}, {S_RENAME, NOBODY, P, "t", Q, "g"}}, F, Q, "g"},
    {"append", {{S_APPEND, F, .b = 3000}}, F, P, "f"},
    {"overwrite", {{S_WRITE, F, .a = 100, .b = 5000}}, F, P, "f"},
    {"write-hole", {{S_WRITE, F, .a = 30000, .b = 500}}, F, P, "f"},
    {"write-partial", {{S_WRITE, F, .a = 4090, .b = 12}}, F, P, "f"},
    {"write-twice", {{S_WRITE, F, .a = 5000, .b = 5000}, {S_WRITE, F, .a = 9000, .b = 9000}}, F, P, "f"},
    {"write-big", {{S_WRITE, F, .a = 0, .b = 100000}}, F, P, "f"},
    {"append-big", {{S_APPEND, F, .b = 70000}}, F, P, "f"},
    {"truncate-0", {{S_SETATTR, F, .a = OPS_SET_SIZE, .b = 0}}, F, P, "f"},
    {"truncate-down", {{S_SETATTR, F, .a = OPS_SET_SIZE, .b = 3000}}, F, P, "f"},
    {"truncate-up", {{S_SETATTR, F, .a = OPS_SET_SIZE, .b = 20000}}, F, P, "f"},
    {"truncate-write", {{S_SETATTR, F, .a = OPS_SET_SIZE, .b = 10}, {S_WRITE, F, .a = 4000, .b = 2000}}, F, P, "f"},
    {"write-truncate-up", {{S_WRITE, F, .a = 6000, .b = 9000}, {S_SETATTR, F, .a = OPS_SET_SIZE, .b = 5000}, {S_SETATTR, F, .a = OPS_SET_SIZE, .b = 9000}}, F, P, "f"},
    {"fallocate", {{S_FALLOCATE, F, .a = 4096, .b = 40000, .c = 0}}, F, P, "f"},
    {"fallocate-keep", {{S_FALLOCATE, F, .a = 4096, .b = 40000, .c = 1}}, F, P, "f"},
    {"punch", {{S_FALLOCATE, F, .a = 1000, .b = 4500, .c = 3}}, F, P, "f"},
    {"zero-range", {{S_FALLOCATE, F, .a = 1000, .b = 9000, .c = 0x10}}, F, P, "f"},
    {"zero-range-keep", {{S_FALLOCATE, F, .a = 1000, .b = 9000, .c = 0x11}}, F, P, "f"},
    {"fallocate-write", {{S_FALLOCATE, F, .a = 0, .b = 40000, .c = 0}, {S_WRITE, F, .a = 8192, .b = 5000}}, F, P, "f"},
    {"chmod", {{S_SETATTR, F, .a = OPS_SET_MODE, .b = 04711}}, F, P, "f"},
    {"chown", {{S_SETATTR, F, .a = OPS_SET_UID | OPS_SET_GID, .b = 1234}}, F, P, "f"},
    {"utimens", {{S_SETATTR, F, .a = OPS_SET_ATIME | OPS_SET_MTIME, .c = 1000000007}}, F, P, "f"},
    {"utimens-now", {{S_SETATTR, F, .a = OPS_SET_ATIME_NOW | OPS_SET_MTIME_NOW}}, F, P, "f"},
    {"chmod-and-size", {{S_SETATTR, F, .a = OPS_SET_SIZE | OPS_SET_MODE | OPS_SET_MTIME, .b = 2300, .c = 1000000007}}, F, P, "f"},
    {"chmod-dir", {{S_SETATTR, D, .a = OPS_SET_MODE, .b = 01711}}, D, P, "d"},
    {"setxattr", {{S_SETXATTR, F, .name = "user.new", .b = 30}}, F, P, "f"},
    {"setxattr-replace", {{S_SETXATTR, F, .name = "user.old", .b = 40}}, F, P, "f"},
    {"setxattr-block", {{S_SETXATTR, F, .name = "user.big", .b = 1500}}, F, P, "f"},
    {"setxattr-acl", {{S_SETXATTR, F, .name = "system.posix_acl_access", .b = sizeof(acl) - 1, .text = acl}}, F, P, "f"},
    {"setxattr-dir", {{S_SETXATTR, D, .name = "user.new", .b = 1500}}, D, P, "d"},
    {"removexattr", {{S_REMOVEXATTR, F, .name = "user.old"}}, F, P, "f"},
    {"removexattr-block", {{S_SETXATTR, F, .name = "user.big", .b = 1500}, {S_REMOVEXATTR, F, .name = "user.big"}}, F, P, "f"},
    {"set-flags", {{S_SETFLAGS, F, .a = 0x40 | 0x80}}, F, P, "f"},
    {"set-flags-append", {{S_SETFLAGS, F, .a = 0x20}, {S_APPEND, F, .b = 10}, {S_SETFLAGS, F, .a = 0}}, F, P, "f"},
    {"tmpfile", {{S_TMPFILE, N, P}}, N, P, "n"},
    {"tmpfile-write", {{S_TMPFILE, N, P}, {S_WRITE, N, .a = 0, .b = 5000}}, N, P, "n"},
    {"tmpfile-link", {{S_TMPFILE, N, P}, {S_LINK, N, P, "n"}}, N, P, "n"},
    {"tmpfile-closed", {{S_TMPFILE, N, P}, {S_FORGET, N}}, F, P, "f"},
    {"atime", {{S_READ, F, .a = 0, .b = 100}}, F, P, "f"},
    {"copy", {{S_COPY, F, Q, .parent2 = G, .a = 0, .b = 5000}}, G, Q, "g"},
};

static const struct row afters[] = {
    {"gap", {{S_END}}},
    {"synced", {{S_SYNC}}},
    {"fsynced-other", {{S_FSYNC, G}}},
};

// --- alterations: SELF and the place of SELF are of the operation ------------------------------------

#define SELF LABELS
#define AT_SELF ((enum label)(LABELS + 1))
static const char SELF_NAME[] = "=";

static const struct row alterations[] = {
    {"nothing", {{S_END}}},
    {"renamed", {{S_RENAME, NOBODY, AT_SELF, SELF_NAME, AT_SELF, "renamed"}}},
    {"moved", {{S_RENAME, NOBODY, AT_SELF, SELF_NAME, ROOT, "moved"}}},
    {"parent-renamed", {{S_RENAME, NOBODY, ROOT, "p", ROOT, "p2"}, {S_RENAME, NOBODY, ROOT, "q", ROOT, "p"}}},
    {"unlinked", {{S_UNLINK, NOBODY, AT_SELF, SELF_NAME}, {S_RMDIR, NOBODY, AT_SELF, SELF_NAME}}},
    {"deleted", {{S_UNLINK, NOBODY, AT_SELF, SELF_NAME}, {S_RMDIR, NOBODY, AT_SELF, SELF_NAME}, {S_FORGET, SELF}}},
    {"replaced", {{S_UNLINK, NOBODY, AT_SELF, SELF_NAME}, {S_RMDIR, NOBODY, AT_SELF, SELF_NAME}, {S_CREATE, W, AT_SELF, SELF_NAME}, {S_WRITE, W, .a = 0, .b = 4500}}},
    {"replaced-by-rename", {{S_CREATE, W, ROOT, "w"}, {S_WRITE, W, .a = 0, .b = 4500}, {S_RENAME, NOBODY, ROOT, "w", AT_SELF, SELF_NAME}}},
    {"number-reused", {{S_UNLINK, NOBODY, AT_SELF, SELF_NAME}, {S_RMDIR, NOBODY, AT_SELF, SELF_NAME}, {S_FORGET, SELF}, {S_FSYNC, G},
                       {S_CREATE, W, AT_SELF, "w"}, {S_WRITE, W, .a = 0, .b = 9000}}},
    {"number-reused-in-gap", {{S_UNLINK, NOBODY, AT_SELF, SELF_NAME}, {S_RMDIR, NOBODY, AT_SELF, SELF_NAME}, {S_FORGET, SELF},
                       {S_CREATE, W, AT_SELF, "w"}, {S_WRITE, W, .a = 0, .b = 9000}, {S_MKDIR, Z, ROOT, "z1"}}},
    {"truncated", {{S_SETATTR, SELF, .a = OPS_SET_SIZE, .b = 1000}}},
    {"truncated-written", {{S_SETATTR, SELF, .a = OPS_SET_SIZE, .b = 0}, {S_WRITE, SELF, .a = 2000, .b = 5000}}},
    {"chmod", {{S_SETATTR, SELF, .a = OPS_SET_MODE | OPS_SET_UID, .b = 0400}, {S_SETATTR, AT_SELF, .a = OPS_SET_MODE, .b = 0500}}},
    {"written", {{S_WRITE, SELF, .a = 2000, .b = 20000}, {S_FSYNC, SELF}}},
    {"linked", {{S_LINK, SELF, ROOT, "linked"}, {S_UNLINK, NOBODY, AT_SELF, SELF_NAME}}},
    {"attributed", {{S_SETXATTR, SELF, .name = "user.old", .b = 2000}}},
    {"closed", {{S_FORGET, SELF}}},
    {"parent-removed", {{S_RENAME, NOBODY, P, "f", ROOT, "f"}, {S_RENAME, NOBODY, P, "n", ROOT, "n"}, {S_RENAME, NOBODY, P, "d", ROOT, "d"},
                        {S_RENAME, NOBODY, P, "f2", ROOT, "f2"}, {S_RENAME, NOBODY, P, "d2", ROOT, "d2"}, {S_RMDIR, NOBODY, ROOT, "p"}, {S_FORGET, P}}},
};

static const struct step tail[] = {
    {S_WRITE, F, .a = 7000, .b = 3}, {S_CREATE, Z, ROOT, "z"}, {S_SYNC}, {S_WRITE, Z, .a = 1, .b = 9000},
};

// --- putting together ---------------------------------------------------------------------------------

static void add(struct script *script, const struct step *steps, size_t count, const struct row *self)
{
    for (size_t i = 0; i < count && steps[i].kind != S_END; i++) {
        CHECK(script->count < SCRIPT_STEPS);
        struct step *step = &script->steps[script->count++];
        *step = steps[i];
        if (!self)
            continue;
        step->label = step->label == SELF ? self->self : step->label == AT_SELF ? self->parent : step->label;
        step->parent = step->parent == AT_SELF ? self->parent : step->parent;
        step->parent2 = step->parent2 == AT_SELF ? self->parent : step->parent2;
        step->name = step->name == SELF_NAME ? self->at : step->name;
        step->name2 = step->name2 == SELF_NAME ? self->at : step->name2;
    }
}

uint32_t script_count(void)
{
    return (uint32_t)(ARRAY_LEN(operations) * ARRAY_LEN(liveness) * ARRAY_LEN(afters) * ARRAY_LEN(alterations));
}

void script_prologue(struct script *out)
{
    *out = (struct script){.name = "prologue"};
    add(out, prologue, ARRAY_LEN(prologue), NULL);
}

void script_make(uint32_t nth, struct script *out)
{
    const struct row *change = &alterations[nth % ARRAY_LEN(alterations)];
    nth /= ARRAY_LEN(alterations);
    const struct row *after = &afters[nth % ARRAY_LEN(afters)];
    nth /= ARRAY_LEN(afters);
    uint32_t live = nth % ARRAY_LEN(liveness);
    const struct row *operation = &operations[nth / ARRAY_LEN(liveness)];

    *out = (struct script){.old = live == LIVENESS_OLD};
    snprintf(out->name, sizeof(out->name), "%s/%s/%s/%s", operation->name, liveness[live].name, after->name, change->name);
    if (out->old)
        add(out, lookups, ARRAY_LEN(lookups), NULL);
    else
        add(out, prologue, ARRAY_LEN(prologue), NULL);
    add(out, liveness[live].steps, ROW_STEPS, NULL);
    out->first = out->count;
    add(out, operation->steps, ROW_STEPS, NULL);
    add(out, after->steps, ROW_STEPS, NULL);
    add(out, change->steps, ROW_STEPS, operation);
    add(out, tail, ARRAY_LEN(tail), NULL);
}
