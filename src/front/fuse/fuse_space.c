// SPDX-License-Identifier: MIT
// fuse_space.c - a volume low on space: every write(2) is granted some, or waits, or fails.
//
//     plenty ──(available < threshold)──▶ low: the kernel is made to write out every file it knows
//        ▲                                 │   and each write(2) is granted `step` blocks, or waits until
//        └──(available > 1.5 * threshold)──┘   the granted files are written out, or fails with ENOSPC
//
// While it is low all files are gated (fuse_gate.c). Invariant: what the kernel may hold dirty without a
// promise is never more than what is available (granted + unfetched <= available), but for a single write(2)
// longer than `step`. A grant belongs to the thread that asked until it asks for anything else: then its pages
// are there and can be written out, which takes all such grants back, whatever became of the files.
//
// A successor knows neither the grants of its predecessor nor all files that the kernel knows. Being low, it
// takes all the kernel can hold for unfetched until the kernel has written everything; a file that it cannot
// name is gated when its first page arrives.
#include "front/fuse/internal.h"

#include "base/check.h"
#include "base/log.h"

#define MARGIN_BLOCKS ((4u << 20) / BLOCK_BYTES)     // written between crossing the threshold and being gated
#define STEP_MIN ((1u << 20) / BLOCK_BYTES)
#define STEP_MAX ((4u << 20) / BLOCK_BYTES)
#define PAYERS_MAX (FUSE_SLOTS / 4)                 // requests that wait with a slot: the others serve WRITEs
#define PAYER_TRIES 4
#define PATIENCE_NS 20000000ull                     // between two looks at writers that have not come back
#define FORGOTTEN_NS 1000000000ull                  // a write(2) is over by then
#define UNDER_WAY_NS 500000000ull                   // one that was under way when the files were gated, too

// A file with pages that are to be written out; or that was gated by its pages.
struct grant {
    struct hnode node;
};

// What a thread may be writing just now; by the thread's number.
struct writer {
    struct hnode node;
    uint32_t ino;
    uint64_t since_ns;
};

static uint64_t available(const struct fuse_door *door)
{
    struct ops_statfs stat;
    return ops_statfs(door->ops, &stat) < 0 ? 0 : stat.blocks_available;
}

static uint64_t outstanding(const struct fuse_gate *gate)
{
    return gate->granted + gate->unfetched;
}

// --- writing out --------------------------------------------------------------------------------

static int fetch(struct fuse_door *door, const uint32_t *inos, size_t count)
{
    struct fuse_note notes[FUSE_NOTES_MAX];
    int rc = 0;
    door->fetching_pages = true;
    for (size_t at = 0; at < count && rc != -EPIPE;) {
        size_t batch = MIN(count - at, (size_t)FUSE_NOTES_MAX);
        for (size_t i = 0; i < batch; i++)
            notes[i] = fuse_note_pages(fuse_nodeid(door, inos[at + i]), 0);
        rc = door->config.notify(door->config.arg, notes, batch * sizeof(notes[0]));
        at += batch;
    }
    door->fetching_pages = false;
    return rc;
}

// Pages that could not be dropped were written all the same, or their error is reported by fsync.
// Only without the relay nothing is known any more.
static void after_fetch(struct fuse_door *door, int rc)
{
    if (rc == -EPIPE && door->gate.threshold) {
        log_warn("event=space-gate-off why=\"the relay is gone\" what=\"ENOSPC may come from fsync and close\"");
        door->gate.threshold = 0;
        door->gate.low = false;
    }
    waitq_wake_all(door->rt, &door->gate.fetched);
}

static size_t take_grants(struct fuse_gate *gate, uint32_t **inos)
{
    size_t count = 0;
    *inos = xcalloc(gate->grants.count + 1, sizeof(**inos));
    HTABLE_EACH(node, &gate->grants) {
        (*inos)[count++] = (uint32_t)node->key;
        htable_remove(&gate->grants, node);
        free(CONTAINER_OF(node, struct grant, node));
    }
    return count;
}

// Makes promises of the grants there are. Yields.
static void fetch_granted(struct fuse_door *door)
{
    struct fuse_gate *gate = &door->gate;
    if (gate->fetching) {
        waitq_wait(door->rt, &gate->fetched);
        return;
    }
    gate->fetching = true;
    fuse_relay_take(door);
    uint32_t *inos;
    uint64_t taken = gate->settled;
    gate->settled = 0;
    size_t count = take_grants(gate, &inos);
    int rc = fetch(door, inos, count);
    free(inos);
    fuse_relay_give(door);
    gate->granted -= taken;
    gate->fetching = false;
    after_fetch(door, rc);
}

// --- low on space -----------------------------------------------------------------------------

struct known_files {
    struct fuse_door *door;
    uint32_t *inos;
    size_t count, room;
};

static void see_known(void *arg, uint32_t ino, bool orphan)
{
    struct known_files *known = arg;
    if (known->count == known->room) {
        known->room = MAX(2 * known->room, (size_t)1024);
        known->inos = xrealloc(known->inos, known->room * sizeof(known->inos[0]));
    }
    known->inos[known->count++] = ino;
    if (orphan)
        fuse_doubt_elsewhere(known->door, ino);
    else
        fuse_doubt(known->door, ino);
}

// First all files are gated, in one go; then what the kernel holds of them is fetched, and once more
// what was being written at that moment.
static void enter(void *arg)
{
    struct fuse_door *door = arg;
    struct known_files known = {.door = door};
    fuse_relay_take(door);
    ops_each_known_file(door->ops, see_known, &known);
    int rc = fetch(door, known.inos, known.count);
    fuse_relay_give(door);
    struct waitq never;
    waitq_init(&never);
    (void)waitq_wait_until(door->rt, &never, rt_now_ns(door->rt) + UNDER_WAY_NS);
    fuse_relay_take(door);
    if (rc != -EPIPE)
        rc = fetch(door, known.inos, known.count);
    fuse_relay_give(door);
    free(known.inos);
    if (door->gate.inherited && door->config.sync_kernel)
        fuse_take_dirty_pages(door);
    door->gate.unfetched = 0;
    log_info("event=space-low available=%llu threshold=%llu files=%zu", (unsigned long long)available(door),
             (unsigned long long)door->gate.threshold, known.count);
    after_fetch(door, rc);
    fuse_call_over(door);
}

static void drop_grants(struct fuse_gate *gate)
{
    uint32_t *inos;
    take_grants(gate, &inos);
    free(inos);
    HTABLE_EACH(node, &gate->found) {
        htable_remove(&gate->found, node);
        free(CONTAINER_OF(node, struct grant, node));
    }
    HTABLE_EACH(node, &gate->writers) {
        htable_remove(&gate->writers, node);
        free(CONTAINER_OF(node, struct writer, node));
    }
    gate->settled = 0;
    gate->granted = gate->paying;
}

static void leave(struct fuse_door *door)
{
    door->gate.low = false;
    drop_grants(&door->gate);
    waitq_wake_all(door->rt, &door->gate.fetched);
    log_info("event=space-enough available=%llu", (unsigned long long)available(door));
}

void fuse_space_watch(struct fuse_door *door)
{
    struct fuse_gate *gate = &door->gate;
    if (gate->threshold == 0 || door->gone)
        return;
    uint64_t room = available(door);
    if (!gate->low && room < gate->threshold) {
        gate->low = true;
        gate->unfetched = gate->dirty_max;
        door->active++;             // drained like a request
        rt_spawn(door->rt, "gate", enter, door);
    } else if (gate->low && room > gate->threshold + gate->threshold / 2 && !gate->unfetched && !gate->fetching) {
        leave(door);
    }
}

void fuse_space_inherit(struct fuse_door *door)
{
    door->gate.inherited = true;
    if (door->agreed.minor)
        fuse_space_watch(door);
}

void fuse_space_written(struct fuse_call *call)
{
    struct fuse_gate *gate = &call->door->gate;
    uint32_t ino = fuse_call_ino(call);
    if (!gate->inherited || !gate->low || htable_find(&gate->found, ino))
        return;
    struct grant *found = xcalloc(1, sizeof(*found));
    htable_insert(&gate->found, &found->node, ino);
    fuse_doubt_elsewhere(call->door, ino);
}

// --- grants -------------------------------------------------------------------------------------

static void settle(struct fuse_gate *gate, struct writer *writer)
{
    gate->settled += gate->step;
    if (!htable_find(&gate->grants, writer->ino)) {
        struct grant *grant = xcalloc(1, sizeof(*grant));
        htable_insert(&gate->grants, &grant->node, writer->ino);
    }
    htable_remove(&gate->writers, &writer->node);
    free(writer);
}

// What a write(2) itself may send after it was granted its space says nothing about its end.
static bool is_within_write(const struct fuse_call *call)
{
    const struct fuse_setattr_in *set = call->msg.arg;
    switch (call->msg.head.opcode) {
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_GETXATTR:
    case FUSE_INTERRUPT:
        return true;
    case FUSE_SETATTR:
        return set->valid & FATTR_KILL_SUIDGID;
    default:
        return false;
    }
}

void fuse_space_heard(struct fuse_call *call)
{
    struct fuse_gate *gate = &call->door->gate;
    struct hnode *node = gate->low ? htable_find(&gate->writers, call->msg.head.pid) : NULL;
    if (!node || is_within_write(call))
        return;
    settle(gate, CONTAINER_OF(node, struct writer, node));
    waitq_wake_all(call->door->rt, &gate->fetched);
}

static void settle_forgotten(struct fuse_door *door)
{
    uint64_t now = rt_now_ns(door->rt);
    HTABLE_EACH(node, &door->gate.writers) {
        struct writer *writer = CONTAINER_OF(node, struct writer, node);
        if (now - writer->since_ns >= FORGOTTEN_NS)
            settle(&door->gate, writer);
    }
}

bool fuse_space_grant(struct fuse_door *door, uint32_t ino, uint32_t thread)
{
    struct fuse_gate *gate = &door->gate;
    if (available(door) < outstanding(gate) + gate->step || htable_find(&gate->writers, thread))
        return false;
    struct writer *writer = xcalloc(1, sizeof(*writer));
    writer->ino = ino;
    writer->since_ns = rt_now_ns(door->rt);
    htable_insert(&gate->writers, &writer->node, thread);
    gate->granted += gate->step;
    return true;
}

static void wait_for_promises(struct fuse_door *door)
{
    struct fuse_gate *gate = &door->gate;
    if (gate->unfetched == 0)
        settle_forgotten(door);
    if (gate->unfetched == 0 && gate->settled > 0)
        fetch_granted(door);
    else
        (void)waitq_wait_until(door->rt, &gate->fetched, rt_now_ns(door->rt) + PATIENCE_NS);
}

int fuse_space_wait(struct fuse_door *door, uint32_t ino, uint32_t thread)
{
    while (door->gate.low && !fuse_space_grant(door, ino, thread)) {
        if (available(door) < door->gate.step)
            return -ENOSPC;
        wait_for_promises(door);
    }
    return 0;
}

void fuse_space_expect_write(struct fuse_call *call, uint32_t ino)
{
    if (call->door->gate.low)
        (void)fuse_space_grant(call->door, ino, call->msg.head.pid);   // without: the doubt after the answer must do
}

// --- what takes space at once ---------------------------------------------------------------------

uint64_t fuse_space_pay(struct fuse_call *call, uint64_t bytes)
{
    struct fuse_door *door = call->door;
    struct fuse_gate *gate = &door->gate;
    uint64_t blocks = MIN(bytes / BLOCK_BYTES + 2, available(door));
    for (int i = 0; gate->low && (i < PAYER_TRIES || gate->unfetched) && gate->payers < PAYERS_MAX; i++) {
        if (outstanding(gate) == gate->paying || available(door) >= outstanding(gate) + blocks)
            break;
        gate->payers++;
        wait_for_promises(door);
        gate->payers--;
    }
    if (!gate->low)
        return 0;
    gate->granted += blocks;
    gate->paying += blocks;
    return blocks;
}

void fuse_space_paid(struct fuse_door *door, uint64_t blocks)
{
    door->gate.granted -= blocks;
    door->gate.paying -= blocks;
}

void fuse_space_overrun(const struct fuse_call *call)
{
    const struct fuse_gate *gate = &call->door->gate;
    log_warn("event=space-overrun ino=%u low=%d available=%llu granted=%llu unfetched=%llu what=\"fsync and close say ENOSPC\"",
             fuse_call_ino(call), gate->low, (unsigned long long)available(call->door), (unsigned long long)gate->granted,
             (unsigned long long)gate->unfetched);
}

// --- begin and end --------------------------------------------------------------------------------

void fuse_space_init(struct fuse_door *door)
{
    struct fuse_gate *gate = &door->gate;
    struct ops_statfs stat;
    htable_init(&gate->grants);
    htable_init(&gate->writers);
    htable_init(&gate->found);
    waitq_init(&gate->fetched);
    if (!door->config.notify || !door->config.kernel_dirty_max || ops_statfs(door->ops, &stat) < 0)
        return;
    gate->step = MAX(MIN(stat.blocks / 128, (uint64_t)STEP_MAX), (uint64_t)STEP_MIN);
    // The kernel slows writers down near its limit; it does not stop them there.
    uint64_t dirty = door->config.kernel_dirty_max / BLOCK_BYTES + 1;
    gate->dirty_max = 3 * dirty + STEP_MIN;
    gate->threshold = gate->dirty_max + MARGIN_BLOCKS;
}

void fuse_space_fini(struct fuse_door *door)
{
    drop_grants(&door->gate);
    htable_fini(&door->gate.grants);
    htable_fini(&door->gate.writers);
    htable_fini(&door->gate.found);
}
