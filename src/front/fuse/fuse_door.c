// SPDX-License-Identifier: MIT
// fuse_door.c - the life of a request: read into a slot, recorded, run on a fibre, answered, slot free.
//
// The loop calls the source each turn. While a slot is free it reads one request after the other;
// most are answered before rt_call() returns, so one slot serves them all. When no slot is free
// the door neither reads nor lets the descriptor wake the loop: the kernel keeps the queue.
//
// One kind of request would wait for others that the kernel has yet to send (fuse_do_lseek): it
// gives its slot back first, so that slots are only ever held by requests that end by themselves.
#include "front/fuse/internal.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/log.h"
#include "rt/rt_uring.h"

#define BATCH 32                    // requests a turn of the loop, so that disk I/O has its turn too
#define MESSAGE_MAX (FUSE_HEAD_ROOM + FUSE_DATA_MAX)

static void watch(struct fuse_door *door);

// --- slots ------------------------------------------------------------------------------------

// All its pages exist from the start. The kernel copies a request into them in read(2), and when a page is
// missing and SIGKILL is pending at that moment, the copy fails, and the program that asked gets EIO: no
// resending brings that request back. A page that is there is taken without looking at signals.
static void *slot_memory(struct fuse_door *door)
{
    if (door->config.slot_memory_count > 0)
        return door->config.slot_memory + --door->config.slot_memory_count * FUSE_SLOT_BYTES;
    void *memory = mmap(NULL, FUSE_SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static struct fuse_slot *slot_create(struct fuse_door *door)
{
    void *memory = slot_memory(door);
    if (!memory)
        return NULL;
    struct fuse_slot *slot = xcalloc(1, sizeof(*slot));
    slot->memory = memory;
    slot->data = slot->memory + BLOCK_BYTES;
    list_init(&slot->link);
    door->slot_count++;
    return slot;
}

static void slot_destroy(struct fuse_slot *slot)
{
    munmap(slot->memory, FUSE_SLOT_BYTES);
    free(slot);
}

static struct fuse_slot *slot_take(struct fuse_door *door)
{
    struct list *node = list_pop_front(&door->free_slots);
    struct fuse_slot *slot = node ? LIST_ENTRY(node, struct fuse_slot, link) : NULL;
    if (!slot && door->slot_count < FUSE_SLOTS)
        slot = slot_create(door);
    if (slot)
        door->slots_busy++;
    return slot;
}

// A burst has made a MiB and more for each of its requests: more than some caches hold.
static void slots_trim(struct fuse_door *door)
{
    while (door->slot_count > FUSE_SLOTS_KEPT) {
        struct list *coldest = door->free_slots.prev;
        list_remove(coldest);
        slot_destroy(LIST_ENTRY(coldest, struct fuse_slot, link));
        door->slot_count--;
    }
}

// The one used last is the next to be used: its memory is warm.
static void slot_put(struct fuse_door *door, struct fuse_slot *slot)
{
    door->slots_busy--;
    list_push_front(&door->free_slots, &slot->link);
    if (door->slots_busy == 0)
        slots_trim(door);
    watch(door);
}

// --- waking the loop ----------------------------------------------------------------------------

// The loop asks the source after every event; that it woke up is all that was needed.
static void on_readable(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
}

static void watch(struct fuse_door *door)
{
    if (door->watching || door->gone)
        return;
    int rc = rt_watch(door->rt, door->config.fd, EPOLLIN, on_readable, door);
    if (rc < 0)
        log_error("event=fuse-watch-failed errno=%d", -rc);
    door->watching = rc == 0;
}

static void unwatch(struct fuse_door *door)
{
    if (door->watching)
        rt_unwatch(door->rt, door->config.fd);
    door->watching = false;
}

// --- answers ------------------------------------------------------------------------------------

// What the kernel takes for an error, and what an application may see of it.
static int outward(int rc)
{
    if (rc == -EFSBADCRC)
        return -EFSCORRUPTED;
    return rc < -511 ? -EIO : rc;
}

bool fuse_answer(struct fuse_door *door, uint64_t unique, int rc, const void *bytes, size_t len)
{
    if (rc < 0)
        len = 0;
    struct fuse_out_header head = {
        .len = (uint32_t)(sizeof(head) + len),
        .error = rc < 0 ? outward(rc) : 0,
        .unique = unique,
    };
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)bytes, len}};
    ssize_t put = writev(door->config.fd, iov, len ? 2 : 1);
    ++*door->config.answered;
    // ENOENT: whoever asked was killed, or the connection was cut. Not an error of ours.
    if (put < 0 && errno != ENOENT && errno != ENODEV && errno != ECONNABORTED)
        log_error("event=fuse-answer-refused unique=%#llx rc=%d bytes=%zu errno=%d",
                  (unsigned long long)unique, rc, len, errno);
    return put >= 0;
}

void fuse_call_over(struct fuse_door *door)
{
    door->active--;
    if (door->active == 0)
        waitq_wake_all(door->rt, &door->idle);
}

static void forget_record(struct fuse_door *door, struct fuse_record *record)
{
    if (record)
        fuse_records_free(&door->records, record);
}

// Only calls with a slot can be sure of a record: one that may wait long gives its own up before others
// go without. It makes no change, or one that can be made twice (flags).
struct fuse_ticket fuse_call_detach(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    struct fuse_ticket ticket = {.door = door, .unique = call->msg.head.unique, .record = call->record};
    if (door->records.count - door->records.used < FUSE_SLOTS) {
        forget_record(door, ticket.record);
        ticket.record = NULL;
    }
    slot_put(door, call->slot);
    return ticket;
}

void fuse_ticket_answer(struct fuse_ticket *ticket, int rc, const void *bytes, size_t len)
{
    if (rc == 0 && ticket->changes)
        rt_probe(ticket->door->rt, RT_PROBE_REPLY);
    fuse_answer(ticket->door, ticket->unique, rc, bytes, len);
    forget_record(ticket->door, ticket->record);
    fuse_call_over(ticket->door);
}

int fuse_call_unanswered(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    forget_record(door, call->record);
    slot_put(door, call->slot);
    fuse_call_over(door);
    return FUSE_ANSWERED;
}

static void tag(struct fuse_door *door, uint64_t unique, struct fuse_record *record)
{
    ops_tag(door->ops, FUSE_CLIENT, unique & ~FUSE_UNIQUE_RESEND, record ? &record->answer : NULL);
}

void fuse_tag(struct fuse_call *call)
{
    call->changes = true;
    tag(call->door, call->msg.head.unique, call->record);
}

void fuse_ticket_tag(struct fuse_ticket *ticket)
{
    ticket->changes = true;
    tag(ticket->door, ticket->unique, ticket->record);
}

void *fuse_out(struct fuse_call *call, size_t size)
{
    CHECK(size <= sizeof(call->small));
    memset(&call->small, 0, size);
    call->out = &call->small;
    call->out_len = size;
    return &call->small;
}

// --- requests -----------------------------------------------------------------------------------

uint32_t fuse_ino(const struct fuse_door *door, uint64_t nodeid)
{
    // FUSE calls the root 1, ext4 calls it 2; nothing reaches ext4's inode 1 by name.
    if (nodeid == FUSE_ROOT_ID)
        return OPS_ROOT;
    uint32_t ino = (uint32_t)nodeid;
    return nodeid >> 32 == door->config.epoch && ino > OPS_ROOT ? ino : 0;
}

uint64_t fuse_nodeid(const struct fuse_door *door, uint32_t ino)
{
    return ino == OPS_ROOT ? FUSE_ROOT_ID : (uint64_t)door->config.epoch << 32 | ino;
}

struct ops_caller fuse_caller(const struct fuse_call *call, uint32_t umask)
{
    const struct fuse_in_header *head = &call->msg.head;
    return (struct ops_caller){.uid = head->uid, .gid = head->gid, .pid = head->pid, .umask = umask};
}

static bool expects_answer(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

// Before anything else looks at the message, so that whatever is deadly in it has a name.
static void take_record(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    struct fuse_in_header *head = &call->msg.head;
    memset(head, 0, sizeof(*head));
    if (call->slot->len < sizeof(*head))
        return;
    memcpy(head, call->slot->data - FUSE_HEAD_ROOM, sizeof(*head));
    if (!expects_answer(head->opcode))
        return;
    if (head->unique & FUSE_UNIQUE_RESEND)
        door->stats.resent++;
    else if (door->records.left_count)
        fuse_records_drop_left(&door->records);     // the kernel sends first what it sends again
    call->record = fuse_records_take(&door->records, head);
    rt_set_tag(door->rt, head->unique & ~FUSE_UNIQUE_RESEND);
}

static int refuse(const struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    char text[400];
    fuse_record_describe(call->record, text, sizeof(text));
    log_error("event=poison %s what=\"answered EIO: it killed the server more than once\"", text);
    door->stats.poisoned++;
    if (door->config.poisoned)
        ++*door->config.poisoned;
    return -EIO;
}

// Either what the dead had done, or by its handler.
static int execute(struct fuse_call *call, fuse_handler *handler)
{
    struct fuse_door *door = call->door;
    int rc;
    fuse_space_heard(call);
    if (call->record && call->record->answer.seq && fuse_answer_recorded(call, &rc)) {
        door->stats.from_records++;
        return rc;
    }
    if (door->config.on_request)
        door->config.on_request(door->config.arg, call->msg.head.opcode, fuse_call_ino(call));
    return handler(call);
}

static int handle(struct fuse_call *call)
{
    take_record(call);
    if (call->record && call->record->deaths >= FUSE_DEATHS_MAX)
        return refuse(call);
    int rc = fuse_decode(call->slot->data - FUSE_HEAD_ROOM, call->slot->len,
                         call->door->agreed.flags & FUSE_SETXATTR_EXT, &call->msg);
    if (rc == -EINVAL || rc == -EBADMSG) {
        call->door->stats.malformed++;
        log_warn("event=fuse-malformed opcode=%u bytes=%zu", call->msg.head.opcode, call->slot->len);
    }
    if (rc < 0)
        return rc == -EBADMSG ? fuse_call_unanswered(call) : rc;
    if (call->record)
        fuse_record_note(call->record, &call->msg);
    fuse_handler *handler = fuse_handlers[call->msg.head.opcode];
    if (!handler)
        return -ENOSYS;
    // INIT may come twice, when the one who answered it first died doing so.
    if (call->msg.head.opcode != FUSE_INIT && call->door->agreed.minor == 0)
        return -EPROTO;
    return execute(call, handler);
}

static void serve(void *arg)
{
    struct fuse_slot *slot = arg;
    struct fuse_call *call = &slot->call;
    struct fuse_door *door = call->door;

    int rc = handle(call);
    if (rc == FUSE_ANSWERED)        // by the handler, which also ended the call: `slot` may be gone
        return;
    if (rc == 0 && call->changes)
        rt_probe(door->rt, RT_PROBE_REPLY);
    bool heard = fuse_answer(door, call->msg.head.unique, rc, call->out, call->out_len);
    if (!heard && rc == 0 && call->looked_up)
        ops_forget(door->ops, call->looked_up, 1);
    if (heard && rc == 0)
        fuse_gate_answered(call);
    (void)fuse_call_unanswered(call);
    rt_set_tag(door->rt, 0);        // what begins here is not this request's doing
    fuse_space_watch(door);
}

static void begin(struct fuse_door *door, struct fuse_slot *slot, size_t len)
{
    slot->len = len;
    // Not the whole of it: `small` is zeroed as far as an answer uses it.
    slot->call.door = door;
    slot->call.slot = slot;
    slot->call.record = NULL;
    slot->call.changes = false;
    slot->call.out = NULL;
    slot->call.out_len = 0;
    slot->call.looked_up = 0;
    slot->call.gated = 0;
    slot->call.gated_orphan = slot->call.gated_listing = false;
    door->active++;
    door->stats.requests++;
    ++*door->config.received;
    rt_call(door->rt, "fuse", serve, slot);
}

// --- the source -----------------------------------------------------------------------------------

static void end_of_mount(struct fuse_door *door, int error)
{
    unwatch(door);
    door->gone = true;
    door->config.on_gone(door->config.arg, error == ENODEV ? 0 : -error);
}

enum outcome { GOT_ONE, TRY_AGAIN, NOTHING, GONE };

static enum outcome read_one(struct fuse_door *door, struct fuse_slot *slot)
{
    ssize_t got = read(door->config.fd, slot->data - FUSE_HEAD_ROOM, MESSAGE_MAX);
    if (got >= 0) {
        begin(door, slot, (size_t)got);
        return GOT_ONE;
    }
    int error = errno;
    slot_put(door, slot);
    switch (error) {
    case EAGAIN:
        return NOTHING;
    case EINTR:
    case ENOENT:                    // it was withdrawn while we read it
        return TRY_AGAIN;
    default:                        // ENODEV: unmounted; ECONNABORTED: cut off through /sys
        end_of_mount(door, error);
        return GONE;
    }
}

static bool source(void *arg)
{
    struct fuse_door *door = arg;
    bool worked = false;
    for (int i = 0; i < BATCH && !door->gone; i++) {
        struct fuse_slot *slot = slot_take(door);
        if (!slot) {
            unwatch(door);          // until a slot comes back
            return worked;
        }
        enum outcome outcome = read_one(door, slot);
        if (outcome == NOTHING || outcome == GONE)
            return worked;
        worked = true;
    }
    return worked;
}

// --- take-over ------------------------------------------------------------------------------------

// The predecessor's last names may not have become durable: the kernel looks every name up again.
static void doubt_names(struct fuse_door *door)
{
    struct fuse_out_header note = {.len = sizeof(note), .error = FUSE_NOTIFY_INC_EPOCH};
    if (write(door->config.fd, &note, sizeof(note)) < 0)
        log_debug("event=names-not-doubted errno=%d", errno);     // an older kernel; or the mount is gone
}

// Asks the kernel to send again what a dead predecessor has read and not answered.
static int ask_for_unanswered(struct fuse_door *door, struct err *err)
{
    if (door->config.distrusted)
        doubt_names(door);
    struct fuse_out_header note = {.len = sizeof(note), .error = FUSE_NOTIFY_RESEND};
    if (write(door->config.fd, &note, sizeof(note)) >= 0)
        return 0;
    // Unmounted meanwhile: the next read says so.
    if (errno == ENODEV || errno == EPERM || errno == ECONNABORTED || errno == ENOTCONN)
        return 0;
    return err_set(err, errno, "the kernel does not send unanswered requests again: %s (Linux 6.9 or later can)",
                   strerror(errno));
}

// --- create and destroy -----------------------------------------------------------------------------

static enum fuse_records_origin origin_of_records(const struct fuse_door_config *config)
{
    if (!config->successor)
        return FUSE_RECORDS_NEW;
    return config->distrusted ? FUSE_RECORDS_LEFT_DISTRUSTED : FUSE_RECORDS_LEFT;
}

int fuse_door_create(const struct fuse_door_config *config, struct fuse_door **out, struct err *err)
{
    struct fuse_door *door = xcalloc(1, sizeof(*door));
    door->config = *config;
    door->rt = config->rt;
    door->ops = config->ops;
    door->opened_ns = rt_now_ns(door->rt);
    list_init(&door->free_slots);
    waitq_init(&door->notify_turn);
    waitq_init(&door->idle);
    fuse_gate_init(door);
    fuse_records_init(&door->records, config->records, config->record_count, origin_of_records(config));
    if (config->successor) {
        door->agreed = *config->agreed;
        int rc = ask_for_unanswered(door, err);
        if (rc < 0) {
            fuse_records_fini(&door->records);
            fuse_gate_fini(door);
            free(door);
            return rc;
        }
        fuse_space_inherit(door);
    }
    watch(door);
    rt_set_source(door->rt, source, door);
    *out = door;
    if (door->agreed.minor)
        config->on_serving(config->arg);
    return 0;
}

void fuse_door_drain(struct fuse_door *door)
{
    while (door->active)
        waitq_wait(door->rt, &door->idle);
}

void fuse_door_stop(struct fuse_door *door)
{
    unwatch(door);
    rt_set_source(door->rt, NULL, NULL);
    door->gone = true;
}

void fuse_door_destroy(struct fuse_door *door)
{
    CHECK(door->active == 0);
    unwatch(door);
    rt_set_source(door->rt, NULL, NULL);
    fuse_gate_fini(door);
    fuse_records_fini(&door->records);
    for (struct list *node; (node = list_pop_front(&door->free_slots));)
        slot_destroy(LIST_ENTRY(node, struct fuse_slot, link));
    free(door);
}

struct fuse_door_stats fuse_door_stats(const struct fuse_door *door)
{
    struct fuse_door_stats stats = door->stats;
    stats.in_flight = door->active;
    return stats;
}
