// SPDX-License-Identifier: MIT
// recover.c - closes the state gap: survey the log, set sizes, apply again what is live, give the pages back.
//
// Survey first: the whole log is checked before the first change is made, so that a damaged one costs nothing, and
// everybody who waits for an answer learns which requests have been applied. The rules are aim.c's.
//
// Whatever is applied here goes into transactions of our own, which may commit at any time; the log's redo marks say
// which. So this may end anywhere, and the next recovery goes on from there.
#include "recover/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/htable.h"
#include "base/log.h"
#include "recover/aim.h"
#include "rt/rt.h"

// progress->seq while pages are given back.
#define AT_THE_PAGES UINT64_MAX
// In progress->deaths: the recovery under way has not come to progress->seq. Its death does not count there.
#define ELSEWHERE (1ull << 63)

// What applications saw as a file's size, of which the disk may know less.
struct size {
    struct hnode node;              // inode number << 32 | generation
    uint64_t size;
};

struct recovery {
    const struct recover_config *config;
    struct recover_stats stats;
    struct err *err;
    struct htable sizes;
    struct size *last;              // the one that was looked at last
    uint64_t suspect;               // where earlier recoveries have died; 0: nowhere
    uint64_t first_live;            // slot of the first entry to be applied again; UINT64_MAX: there is none
};

// --- deaths ---------------------------------------------------------------------------------------

static int begin_progress(struct recovery *r)
{
    volatile struct recover_progress *progress = r->config->progress;

    if (!progress || progress->seq == 0)
        return 0;
    if (!(progress->deaths & ELSEWHERE))
        progress->deaths = (progress->deaths + 1) | ELSEWHERE;
    r->suspect = progress->seq;
    uint64_t deaths = progress->deaths & ~ELSEWHERE;
    if (deaths < RECOVER_DEATHS_MAX)
        return 0;
    return err_set(r->err, EFSCORRUPTED, "%" PRIu64 " recoveries have died at entry %" PRIu64 " of the log", deaths, r->suspect);
}

static void come_to(struct recovery *r, uint64_t seq)
{
    volatile struct recover_progress *progress = r->config->progress;

    if (!progress || seq < r->suspect)
        return;
    if (seq == r->suspect) {
        progress->deaths &= ~ELSEWHERE;
        return;
    }
    progress->deaths = 0;
    progress->seq = seq;
}

static void end_progress(struct recovery *r)
{
    if (!r->config->progress)
        return;
    r->config->progress->seq = 0;
    r->config->progress->deaths = 0;
}

// --- sizes ----------------------------------------------------------------------------------------

static struct size *size_of(struct recovery *r, const struct plog_entry *entry)
{
    uint64_t key = (uint64_t)entry->target[PLOG_SELF].ino << 32 | entry->target[PLOG_SELF].generation;

    if (r->last && r->last->node.key == key)
        return r->last;
    struct hnode *node = htable_find(&r->sizes, key);
    if (node)
        r->last = CONTAINER_OF(node, struct size, node);
    return node ? r->last : NULL;
}

// Only files of which a write is not settled can be larger than the disk says. What comes behind such a write
// changes the size that it left.
static void fold_size(struct recovery *r, const struct plog_entry *entry, enum aim_action action)
{
    if (aim_rule_of(entry)->size == AIM_SIZE_STAYS)
        return;
    struct size *size = size_of(r, entry);
    if (!size && action != AIM_SIZE)
        return;
    if (!size) {
        size = r->last = xcalloc(1, sizeof *size);
        htable_insert(&r->sizes, &size->node, (uint64_t)entry->target[PLOG_SELF].ino << 32 | entry->target[PLOG_SELF].generation);
    }
    size->size = aim_size(entry, size->size);
}

static int set_sizes(struct recovery *r)
{
    HTABLE_EACH(node, &r->sizes) {
        struct size *size = CONTAINER_OF(node, struct size, node);
        uint32_t ino = (uint32_t)(node->key >> 32);
        int rc = ops_redo_size(r->config->ops, ino, (uint32_t)node->key, size->size);
        if (rc < 0)
            return err_set(r->err, -rc, "inode %u, whose size is in the log, cannot be read", ino);
    }
    return 0;
}

static void free_sizes(struct recovery *r)
{
    HTABLE_EACH(node, &r->sizes) {
        htable_remove(&r->sizes, node);
        free(CONTAINER_OF(node, struct size, node));
    }
    htable_fini(&r->sizes);
}

// --- the survey -----------------------------------------------------------------------------------

static int distrust(struct recovery *r, const struct plog_entry *entry, const char *why)
{
    return err_set(r->err, EFSCORRUPTED, "entry %" PRIu64 " of the log (%s, inode %u) cannot be believed: %s", entry->seq,
                   aim_rule_of(entry)->name, entry->target[PLOG_SELF].ino, why);
}

static int survey(void *arg, const struct plog_view *view)
{
    struct recovery *r = arg;
    const struct plog_entry *entry = view->entry;
    enum aim_action action = aim_decide(entry, plog_state(r->config->log, entry, r->config->committed_tid));

    if (action == AIM_DISTRUST)
        return distrust(r, entry, "no such entry can be in that state");
    r->stats.entries++;
    r->stats.ignore += action == AIM_IGNORE;
    r->stats.modify += action == AIM_SIZE;
    if (action != AIM_ACT)
        fold_size(r, entry, action);
    else
        r->first_live = MIN(r->first_live, view->at);
    if ((entry->bits & PLOG_ANSWER) && r->config->applied)
        r->config->applied(r->config->arg, entry);
    return 0;
}

// A log that knows of a later commit than the disk has given entries back that are lost now.
static int judge_log(struct recovery *r)
{
    const struct recover_config *config = r->config;

    if (config->log->head->committed_tid > config->committed_tid)
        return err_set(r->err, EFSCORRUPTED, "the disk has lost transaction %" PRIu64 " (it holds %" PRIu64 ")",
                       config->log->head->committed_tid, config->committed_tid);
    int rc = plog_redo_begin(config->log, config->committed_tid);
    return rc < 0 ? err_set(r->err, -rc, "the log of operations is damaged") : 0;
}

// --- acting ---------------------------------------------------------------------------------------

static int free_number(struct recovery *r, const struct plog_entry *entry, bool *modified)
{
    uint32_t ino = aim_number(entry);
    enum aim_action action = ino ? aim_decide_number(ops_redo_holder(r->config->ops, ino)) : AIM_ACT;

    if (action == AIM_DISTRUST)
        return distrust(r, entry, "its number is another inode's");
    *modified = action == AIM_BURY;
    if (!*modified)
        return 0;
    int rc = ops_redo_bury(r->config->ops, ino);
    return rc < 0 ? err_set(r->err, -rc, "inode %u, deleted before, cannot be deleted again", ino) : 0;
}

static int redo(struct recovery *r, const struct plog_view *view)
{
    char why[64];

    int rc = ops_redo(r->config->ops, view);
    if (rc == 0)
        return 0;
    if (aim_decide_error(rc) != AIM_DISTRUST)
        return err_set(r->err, -rc, "entry %" PRIu64 " of the log could not be applied again: %s", view->entry->seq, strerror(-rc));
    snprintf(why, sizeof why, "applied again it gives %d", rc);
    return distrust(r, view->entry, why);
}

static int act(void *arg, const struct plog_view *view)
{
    struct recovery *r = arg;
    const struct plog_entry *entry = view->entry;
    bool modified = false;

    if (plog_state(r->config->log, entry, r->config->committed_tid) != PLOG_LIVE)
        return 0;
    come_to(r, entry->seq);
    rt_probe(r->config->rt, RT_PROBE_RECOVERY);
    int rc = ops_redo_room(r->config->ops, false);
    if (rc < 0)
        return err_set(r->err, -rc, "the transactions of the recovery cannot be committed");
    rc = free_number(r, entry, &modified);
    if (rc == 0)
        rc = redo(r, view);
    r->stats.modify += modified;
    r->stats.act += !modified;
    return rc;
}

static int give_pages_back(struct recovery *r)
{
    come_to(r, AT_THE_PAGES);
    rt_probe(r->config->rt, RT_PROBE_RECOVERY);
    int rc = ops_redo_pages(r->config->ops, &r->stats.pages);
    return rc < 0 ? err_set(r->err, -rc, "the pages of the state gap cannot be given back to their files") : 0;
}

// --- the recovery -----------------------------------------------------------------------------------

static int run(struct recovery *r)
{
    struct plog *log = r->config->log;

    int rc = judge_log(r);
    if (rc == 0)
        rc = begin_progress(r);
    if (rc < 0)
        return rc;
    rc = plog_walk(log, survey, r);
    if (rc < 0 && r->err->text[0] == 0)
        rc = err_set(r->err, -rc, "the log of operations is damaged");
    if (rc < 0)
        return rc;
    ops_redo_begin(r->config->ops);
    rc = set_sizes(r);
    if (rc == 0 && r->first_live != UINT64_MAX)
        rc = plog_walk_from(log, r->first_live, act, r);
    if (rc < 0 && r->err->text[0] == 0)
        rc = err_set(r->err, -rc, "the log of operations is damaged");
    if (rc == 0)
        rc = give_pages_back(r);
    return ops_redo_end(r->config->ops, rc);
}

int recover_run(const struct recover_config *config, struct recover_stats *out, struct err *err)
{
    struct err own = {0};
    struct recovery r = {.config = config, .err = err ? err : &own, .first_live = UINT64_MAX};

    htable_init(&r.sizes);
    int rc = run(&r);
    free_sizes(&r);
    r.stats.mended = config->log->mended;
    *out = r.stats;
    if (rc < 0) {
        log_error("event=replay-failed rc=%d reason=\"%s\"", rc, r.err->text);
        return rc;
    }
    end_progress(&r);
    log_info("event=replayed entries=%" PRIu64 " act=%" PRIu64 " ignore=%" PRIu64 " modify=%" PRIu64 " pages=%" PRIu64
             " mended=%u", r.stats.entries, r.stats.act, r.stats.ignore, r.stats.modify, r.stats.pages, r.stats.mended);
    return 0;
}
