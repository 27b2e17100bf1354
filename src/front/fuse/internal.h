// SPDX-License-Identifier: MIT
// internal.h - what the files of the FUSE door share: slots, calls, answers.
//
// A slot is memory for one request. The message is read so that the data of a WRITE begins on a
// page boundary; whatever lies before it (header and fixed part, 80 bytes) ends there.
//
//     memory            data - 80        data (page aligned)                       end
//     | unused ........ | header | args | data of WRITE, or the answer's bytes ... |
//
// READ and READDIR answer from `data` too: their arguments are copied out first.
#pragma once

#include "base/htable.h"
#include "base/list.h"
#include "front/fuse/fuse_decode.h"
#include "front/fuse/fuse_door.h"
#include "front/fuse/fuse_record.h"
#include "rt/rt.h"

#define FUSE_SLOTS 128u
#define FUSE_SLOTS_KEPT 16u          // while nothing is in flight
#define FUSE_DATA_MAX (1u << 20)            // the largest WRITE and READ
#define FUSE_HEAD_ROOM 80u
static_assert(FUSE_SLOT_BYTES == FUSE_DATA_MAX + 2 * BLOCK_BYTES, "a slot: head, data, and what rounds the data up");
#define FUSE_ANSWERED 1                     // returned by a handler that has answered, or must not

struct fuse_slot;

struct fuse_call {
    struct fuse_door *door;
    struct fuse_slot *slot;                 // gone after fuse_call_release()
    struct fuse_msg msg;
    struct fuse_record *record;             // NULL: nobody will ask about this request after a death
    const void *out;                        // the answer's bytes: `small`, or slot memory
    size_t out_len;
    uint32_t looked_up;                     // inode whose lookup to take back if nobody hears the answer
    uint32_t gated;                         // inode whose attributes the kernel is to doubt after the answer
    bool gated_orphan, gated_listing;       // it has no name; or: all files in the listing
    bool changes;                           // the volume: it was tagged
    union {
        uint64_t align;
        uint8_t bytes[512];
    } small;
};

// What is left of a call that waits without a slot: enough to answer it.
struct fuse_ticket {
    struct fuse_door *door;
    uint64_t unique;
    struct fuse_record *record;             // as in the call
    bool changes;
};

struct fuse_slot {
    struct list link;                       // in door->free_slots
    uint8_t *memory, *data;
    size_t len;                             // of the message
    struct fuse_call call;
};

// fuse_gate.c, fuse_space.c. Counted in blocks.
struct fuse_gate {
    uint64_t threshold, step, dirty_max;    // threshold 0: never low on space
    bool low;
    bool inherited;                         // the kernel knows files that this server has not told it of
    bool fetching;                          // grants are being turned into promises
    uint64_t unfetched;                     // what may be dirty from before the volume became low
    uint64_t granted;                       // to writers, settled, and paying
    uint64_t settled, paying;               // paying: what requests under way hold
    uint32_t payers;
    struct htable writers;                  // by thread
    struct htable grants;                   // files with settled grants, by inode number
    struct htable found;                    // files that were gated by their pages
    struct htable stale;                    // files of which the kernel must take the next attributes
    struct list frozen;                     // files that are becoming immutable
    struct waitq fetched, thawed;
};

struct fuse_door {
    struct fuse_door_config config;
    struct rt *rt;
    struct ops *ops;
    struct fuse_agreed agreed;              // a copy, safe from whoever writes over the legacy
    struct list free_slots;
    uint32_t slot_count;                    // made so far, they are made when first needed
    uint32_t slots_busy, active;            // active: requests not answered, with or without slot
    bool watching;                          // the descriptor wakes the loop
    bool gone;
    bool notifying;                         // one notification at a time
    struct waitq notify_turn, idle;
    bool fetching_pages;                    // by a notification, which umount(2) waits for
    struct fuse_gate gate;
    struct fuse_records records;
    uint64_t opened_ns;
    uint64_t kernel_writes;                 // WRITEs out of the kernel's page cache that are done
    uint32_t kernel_writes_active;
    uint64_t own_syncs;                     // SYNCFS that this door had the relay cause
    struct fuse_door_stats stats;
};

// 0 or a positive FUSE_ANSWERED or a negative errno; fills call->out.
typedef int fuse_handler(struct fuse_call *call);

// Where a request says it comes from.
struct ops_caller fuse_caller(const struct fuse_call *call, uint32_t umask);
// The inode number behind a nodeid; 0, which no inode has, when there is none, or when it was told by
// a server of another epoch.
uint32_t fuse_ino(const struct fuse_door *door, uint64_t nodeid);
uint64_t fuse_nodeid(const struct fuse_door *door, uint32_t ino);
static inline uint32_t fuse_call_ino(const struct fuse_call *call)
{
    return fuse_ino(call->door, call->msg.head.nodeid);
}

// The call of ops that follows at once, with no wait in between, is the change that the request is
// about: its record learns of it at the moment it is made.
void fuse_tag(struct fuse_call *call);
void fuse_ticket_tag(struct fuse_ticket *ticket);

// Room for a small answer, zeroed, which becomes the call's answer.
void *fuse_out(struct fuse_call *call, size_t size);
// Gives the slot back before the answer; `call` is gone with it.
struct fuse_ticket fuse_call_detach(struct fuse_call *call);
// Answers, and the request is over.
void fuse_ticket_answer(struct fuse_ticket *ticket, int rc, const void *bytes, size_t len);
// Ends a call to which no answer is due. Returns FUSE_ANSWERED.
int fuse_call_unanswered(struct fuse_call *call);
// Answers without a slot. rc < 0: an error and no bytes. True when the kernel took it.
bool fuse_answer(struct fuse_door *door, uint64_t unique, int rc, const void *bytes, size_t len);
// The request is over, after an answer or where none is due.
void fuse_call_over(struct fuse_door *door);
// The relay does one thing at a time. Yields.
void fuse_relay_take(struct fuse_door *door);
void fuse_relay_give(struct fuse_door *door);

// --- fuse_notify.c ----------------------------------------------------------------------------
struct fuse_note {
    struct fuse_out_header head;
    struct fuse_notify_inval_inode_out body;
};
#define FUSE_NOTES_MAX 100u                 // that config.notify takes at once
struct fuse_note fuse_note_pages(uint64_t nodeid, uint64_t off);    // write and drop pages from `off` on
struct fuse_note fuse_note_attrs(uint64_t nodeid);                  // doubt the attributes
// Makes the kernel write and drop its cached pages of an inode from `off` on. Yields.
int fuse_flush_kernel_pages(struct fuse_door *door, uint64_t nodeid, uint64_t off);
// Makes the kernel ask again before it tells attributes. Whoever sent the request has the inode open, so
// this is not its last use, nor does an umount(2) wait: neither would wait for us.
void fuse_forget_kernel_attrs(struct fuse_call *call, uint64_t nodeid);

// --- fuse_sync.c --------------------------------------------------------------------------------
// Has the kernel write all its dirty pages, as long as that brings any. Where config.sync_kernel is. Yields.
void fuse_take_dirty_pages(struct fuse_door *door);

// --- fuse_gate.c --------------------------------------------------------------------------------
void fuse_gate_init(struct fuse_door *door);
void fuse_gate_fini(struct fuse_door *door);
// Must write(2) ask before it writes to this file?
bool fuse_gate_closed(const struct fuse_door *door, const struct ops_attr *attr);
// The answer carries these attributes, and the kernel takes them.
void fuse_gate_note(struct fuse_call *call, const struct ops_attr *attr);
// The same about a file that the kernel holds: it ignores them, except for whoever asked.
void fuse_gate_note_known(struct fuse_call *call, const struct ops_attr *attr);
// The same about a file that the kernel may have or not.
void fuse_gate_note_found(struct fuse_call *call, const struct ops_attr *attr);
// The file's mode may have become another than the kernel knows.
void fuse_gate_stale(struct fuse_door *door, uint32_t ino);
void fuse_gate_forget(struct fuse_door *door, uint32_t ino);
// The answer is given: the kernel has attributes that it is to doubt.
void fuse_gate_answered(struct fuse_call *call);
// A write(2) asks. 0: it may, -EPERM, -ENOSPC, or FUSE_ANSWERED. The attributes are in call->out.
int fuse_gate_ask(struct fuse_call *call, const struct ops_attr *attr);
// Has the kernel's pages of a file written, and then `change` made, with no write(2) in between. Yields.
int fuse_gate_freeze(struct fuse_door *door, uint32_t ino, int (*change)(void *arg), void *arg);
// The kernel is to doubt the attributes at once. The inode must be one that it cannot drop meanwhile: its
// last user's end would wait for answers, inside our own write. Whoever awaits an answer about it holds
// it, and so do its names.
void fuse_doubt(struct fuse_door *door, uint32_t ino);
// The same of any inode, by the relay; also while a flush is under way, which an umount(2) may wait for, and
// we for that.
void fuse_doubt_elsewhere(struct fuse_door *door, uint32_t ino);

// --- fuse_space.c -------------------------------------------------------------------------------
void fuse_space_init(struct fuse_door *door);
void fuse_space_fini(struct fuse_door *door);
// What a predecessor granted and told of is not known.
void fuse_space_inherit(struct fuse_door *door);
// After every request: is the volume low on space, or no longer?
void fuse_space_watch(struct fuse_door *door);
// A request came in: whoever sent it has ended the write(2) that was granted before.
void fuse_space_heard(struct fuse_call *call);
// A write(2) of this thread may fill one step; false: not now. Only while the volume is low.
bool fuse_space_grant(struct fuse_door *door, uint32_t ino, uint32_t thread);
// Waits for that. 0, also when the volume is no longer low, or -ENOSPC. Yields.
int fuse_space_wait(struct fuse_door *door, uint32_t ino, uint32_t thread);
// A write(2) is likely to follow before the kernel can be made to ask.
void fuse_space_expect_write(struct fuse_call *call, uint32_t ino);
// Around an operation that takes up to `bytes` of space by itself: what was granted to others is kept
// for them. Yields. What it returns is for fuse_space_paid().
uint64_t fuse_space_pay(struct fuse_call *call, uint64_t bytes);
void fuse_space_paid(struct fuse_door *door, uint64_t blocks);
// Pages of the kernel's cache have arrived: of a file of which only a predecessor may have told.
void fuse_space_written(struct fuse_call *call);
// A page that the kernel had taken has no place.
void fuse_space_overrun(const struct fuse_call *call);

// --- fuse_encode.c ----------------------------------------------------------------------------
struct fuse_entry_out fuse_encode_entry(const struct fuse_door *door, const struct ops_attr *attr);
struct fuse_attr_out fuse_encode_attr(const struct ops_attr *attr);
struct fuse_statx_out fuse_encode_statx(const struct ops_attr *attr);
#define FUSE_FOREVER 0x7fffffffu            // seconds; the kernel learns of every change by itself

// --- fuse_resend.c --------------------------------------------------------------------------------
// The record says that the request was applied: answers it from that, as its handler would have. True
// and *rc as of a handler; false: it is to be executed.
bool fuse_answer_recorded(struct fuse_call *call, int *rc);
// Answers that handlers give, too: an entry, an entry that is opened, attributes after a change.
int fuse_give_entry(struct fuse_call *call, const struct ops_attr *attr);
int fuse_give_created(struct fuse_call *call, const struct ops_attr *attr);
int fuse_give_changed(struct fuse_call *call, const struct ops_attr *attr, bool resized);

// --- handlers ---------------------------------------------------------------------------------
extern fuse_handler *const fuse_handlers[FUSE_OPCODES];

fuse_handler fuse_do_init, fuse_do_destroy, fuse_do_open, fuse_do_release;
fuse_handler fuse_do_lookup, fuse_do_forget, fuse_do_batch_forget, fuse_do_readlink, fuse_do_symlink,
    fuse_do_mknod, fuse_do_mkdir, fuse_do_unlink, fuse_do_rmdir, fuse_do_rename, fuse_do_rename2,
    fuse_do_link, fuse_do_create, fuse_do_tmpfile, fuse_do_readdir, fuse_do_readdirplus;
fuse_handler fuse_do_getattr, fuse_do_statx, fuse_do_setattr, fuse_do_statfs;
fuse_handler fuse_do_setxattr, fuse_do_getxattr, fuse_do_listxattr, fuse_do_removexattr;
fuse_handler fuse_do_read, fuse_do_write, fuse_do_fsync, fuse_do_syncfs, fuse_do_fallocate,
    fuse_do_lseek, fuse_do_copy_range, fuse_do_copy_range_64;
fuse_handler fuse_do_ioctl;
