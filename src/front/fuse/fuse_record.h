// SPDX-License-Identifier: MIT
// fuse_record.h - what a dead server leaves behind of each request that it had begun: who asked for
// what, how often that was deadly, and what it came to.
//
// Records lie in memory that outlives the server. One is taken when a request begins and given back after
// its answer was written; it survives exactly when the kernel may send the request again. So a
// successor answers from the record what had been applied, executes what had not, and refuses what has killed
// two servers.
//
//     free ──take──▶ begun ──the apply half──▶ answered ──the answer is written──▶ free
//                      └───────────────────── it changed nothing ──────────────────▲
//
// A record's place follows from the request's number: its home, or the next free one behind it. Every
// state is entered by one store, so a death between two instructions leaves a record that is whole or free.
// The functions here take the memory itself: recovery and the crash handler have no door.
#pragma once

#include <assert.h>

#include "base/types.h"
#include "ops/ops.h"

#define FUSE_CLIENT 1u              // of ops_tag() and of the P-Log's entries
#define FUSE_DEATHS_MAX 2u          // a request that has been this deadly is refused
#define FUSE_RECORD_TEXT 192u

struct fuse_record {
    uint64_t unique;                // without FUSE_UNIQUE_RESEND; 0: free. Stored last, and cleared first
    uint64_t nodeid;
    struct ops_answer answer;       // seq 0: not applied
    uint32_t opcode, pid;
    uint32_t deaths;                // servers that died while they worked for it
    uint32_t check;                 // of unique, nodeid, opcode and pid
    uint8_t name_len[2];            // of the names in `text`, which are cut to fit
    uint16_t reach;                 // of this place, not of what is in it: how far from home its records ever lay
    uint32_t spare;
    char text[FUSE_RECORD_TEXT];
};
static_assert(sizeof(struct fuse_record) == 256, "four cache lines, of which most requests touch two");

// --- for recovery, before the door opens -------------------------------------------------------------

// A P-Log entry says what this request came to, and has a checksum, as the record's answer has not: the record
// says the same from now on. Cheap for requests that have no record, as most entries' have none.
void fuse_records_applied(void *memory, uint32_t count, uint64_t request, const struct ops_answer *answer);

// --- for crash handlers: no lock, no allocation, no stdio ----------------------------------------------

// The server died working for this request. How many times that happened by now; 0: there is no record.
uint32_t fuse_records_blame(void *memory, uint32_t count, uint64_t request);
// One readable line about it, NUL-terminated: its length.
size_t fuse_records_describe(const void *memory, uint32_t count, uint64_t request, char *out, size_t size);
size_t fuse_record_describe(const struct fuse_record *record, char *out, size_t size);

// --- for the door ---------------------------------------------------------------------------------------

struct fuse_in_header;
struct fuse_msg;

#define FUSE_RECORDS_MIN 256u       // twice what can be under way at once with a slot

struct fuse_records {
    struct fuse_record *at;
    uint32_t count, used;           // used: those of predecessors included
    uint32_t left_count;
    bool *left;                     // by index: a predecessor's, which nobody has claimed yet
    bool owned;
};
enum fuse_records_origin {
    FUSE_RECORDS_NEW,               // whatever the memory holds is nobody's
    FUSE_RECORDS_LEFT,              // a predecessor left them
    FUSE_RECORDS_LEFT_DISTRUSTED,   // the same, but what it had applied may be lost: nothing is answered from them
};
// `memory` is borrowed and has room for `count` records (FUSE_RECORDS_MIN at least). NULL: private memory.
void fuse_records_init(struct fuse_records *records, void *memory, uint32_t count, enum fuse_records_origin origin);
void fuse_records_fini(struct fuse_records *records);
// A request begins: its record of before if it was sent again and left one, else a new one. NULL when all are
// used, which only requests without a slot can cause.
struct fuse_record *fuse_records_take(struct fuse_records *records, const struct fuse_in_header *head);
// Adds what the crash report is to say about it.
void fuse_record_note(struct fuse_record *record, const struct fuse_msg *msg);
void fuse_records_free(struct fuse_records *records, struct fuse_record *record);
// No request will be sent again any more: frees what nobody has claimed.
void fuse_records_drop_left(struct fuse_records *records);
// Has a request that has yet to be answered made this inode, which has no name?
bool fuse_records_made(const struct fuse_records *records, uint32_t ino);
