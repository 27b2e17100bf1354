// SPDX-License-Identifier: MIT
// redo.c - which entries a recovery has applied again, and in which transactions (struct plog_redo).
//
// One worker's transactions follow each other, and entries are applied, and applied again, in their order:
// so at any moment there is one number up to which all is durable and behind which nothing is.
// Recovery begins by finding it; afterwards every commit moves it on.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "plog/internal.h"

static uint32_t redo_crc(const struct plog_redo *redo)
{
    return crc32c(~0u, redo, offsetof(struct plog_redo, crc));
}

static struct plog_redo *current(const struct plog *log)
{
    return &log->head->redo[log->redo_at];
}

// What is stored is what was stored: memory that something wrote over must not become a checksummed truth.
static struct plog_redo take(const struct plog *log)
{
    struct plog_redo redo = *current(log);
    CHECK(redo.crc == redo_crc(&redo));
    return redo;
}

static void put(struct plog *log, struct plog_redo *redo)
{
    redo->turn++;
    redo->crc = redo_crc(redo);
    log->redo_at ^= 1;
    *current(log) = *redo;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void plog_redo_init(struct plog *log)
{
    log->redo_at = 0;
    struct plog_redo none = {0};
    put(log, &none);
}

// A copy as it stands, or with one bit put right.
static bool redo_is_good(struct plog *log, struct plog_redo *redo)
{
    if (redo->crc == redo_crc(redo))
        return true;
    if (!plog_mend(redo, offsetof(struct plog_redo, crc), redo->crc))
        return false;
    redo->crc = redo_crc(redo);
    log->mended++;
    return true;
}

const char *plog_redo_attach(struct plog *log)
{
    struct plog_redo *copies = log->head->redo;
    bool good[2];

    for (uint32_t i = 0; i < 2; i++)
        good[i] = redo_is_good(log, &copies[i]) && copies[i].turn > 0 && copies[i].mark_count <= PLOG_MARKS;
    if (!good[0] && !good[1])
        return "no record of recovery can be believed";
    log->redo_at = !good[0] || (good[1] && copies[1].turn > copies[0].turn);
    return NULL;
}

// --- what is durable ----------------------------------------------------------------------------

static uint64_t tid_of_redone(const struct plog_redo *redo, uint64_t seq)
{
    uint64_t tid = UINT64_MAX;
    for (uint64_t i = 0; i < redo->mark_count && redo->marks[i].seq <= seq; i++)
        tid = redo->marks[i].tid;
    return tid;
}

bool plog_is_durable(const struct plog *log, const struct plog_entry *entry, uint64_t committed_tid)
{
    const struct plog_redo *redo = current(log);

    if (entry->seq > redo->until)
        return entry->tid <= committed_tid;
    if (entry->seq <= redo->durable)
        return true;
    return entry->seq <= redo->done && tid_of_redone(redo, entry->seq) <= committed_tid;
}

enum plog_state plog_state(const struct plog *log, const struct plog_entry *entry, uint64_t committed_tid)
{
    if (!plog_is_durable(log, entry, committed_tid))
        return PLOG_LIVE;
    return entry->bits & PLOG_DATA ? PLOG_DURABLE_BUT_DATA : PLOG_DURABLE;
}

// --- recovery -----------------------------------------------------------------------------------

struct begin {
    const struct plog *log;
    uint64_t committed_tid, durable, last;
    bool live;                      // an entry that is not durable has been seen
};

static int look(void *arg, const struct plog_view *view)
{
    struct begin *begin = arg;

    begin->last = view->entry->seq;
    if (!plog_is_durable(begin->log, view->entry, begin->committed_tid)) {
        begin->live = true;
        return 0;
    }
    if (begin->live) {
        log_error("event=plog-entry-rejected seq=%llu reason=\"durable, but what was before it is not\"",
                  (unsigned long long)view->entry->seq);
        return -EFSCORRUPTED;
    }
    begin->durable = view->entry->seq;
    return 0;
}

int plog_redo_begin(struct plog *log, uint64_t committed_tid)
{
    struct begin begin = {.log = log, .committed_tid = committed_tid};
    if (log->begun)
        return 0;
    int rc = plog_walk(log, look, &begin);
    if (rc < 0)
        return rc;
    struct plog_redo redo = take(log);
    redo.durable = redo.done = begin.durable;
    redo.until = begin.last;
    redo.mark_count = 0;
    put(log, &redo);
    log->begun = true;
    return 0;
}

bool plog_redo_has_room(const struct plog *log)
{
    return current(log)->mark_count < PLOG_MARKS;
}

void plog_redone(struct plog *log, uint64_t seq, uint64_t tid)
{
    struct plog_redo redo = take(log);
    CHECK(seq > redo.done && seq <= redo.until);
    if (redo.mark_count == 0 || redo.marks[redo.mark_count - 1].tid != tid) {
        CHECK(redo.mark_count < PLOG_MARKS);
        redo.marks[redo.mark_count++] = (struct plog_mark){.seq = redo.done + 1, .tid = tid};
    }
    redo.done = seq;
    put(log, &redo);
}

uint64_t plog_redo_done(const struct plog *log)
{
    return current(log)->done;
}

// Marks of committed transactions are not needed any more: what they say is `durable`.
void plog_redo_trim(struct plog *log, uint64_t committed_tid, uint64_t first_seq)
{
    if (current(log)->until == 0)
        return;
    struct plog_redo redo = take(log);
    uint64_t gone = 0;
    while (gone < redo.mark_count && redo.marks[gone].tid <= committed_tid)
        gone++;
    bool over = first_seq > redo.until && redo.done >= redo.until;
    if (gone == 0 && !over)
        return;
    if (gone > 0)
        redo.durable = gone < redo.mark_count ? redo.marks[gone].seq - 1 : redo.done;
    redo.mark_count -= gone;
    memmove(redo.marks, redo.marks + gone, redo.mark_count * sizeof *redo.marks);
    if (over)
        redo = (struct plog_redo){.turn = redo.turn};
    put(log, &redo);
}
