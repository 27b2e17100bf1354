// SPDX-License-Identifier: MIT
// fs.c - mounting and unmounting, and the end of trust in between (abort).
//
//   superblock ─▶ journal found ─▶ replayed ─▶ superblock again ─▶ groups ─▶ in use ─▶ orphans ─▶ mounted
//                             or adopted
//
// Up to "replayed" everything is read past the caches, since the journal may hold newer blocks.
// Nothing is written before the volume is marked as in use, except by the replay.
#include "fs/fs.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc_internal.h"
#include "fs/data.h"
#include "fs/fs_internal.h"
#include "fs/inode.h"
#include "fs/inode_internal.h"
#include "fs/orphan.h"

#define INODE_LIMIT 100000u

static struct fs *fs_create(const struct fs_config *config)
{
    struct fs *fs = xcalloc(1, sizeof *fs);
    fs->config = *config;
    if (fs->config.commit_interval_ms == 0)
        fs->config.commit_interval_ms = 5000;
    fs->rt = config->rt;
    fs->bufs = config->bufs;
    fs->pages = config->pages;
    fs->read_only = config->read_only;
    fs->inode_limit = INODE_LIMIT;
    htable_init(&fs->inodes);
    list_init(&fs->pending_frees);
    list_init(&fs->dirty_groups);
    list_init(&fs->inode_lru);
    list_init(&fs->dirty_inodes);
    list_init(&fs->dirty_data);
    list_init(&fs->orphans);
    list_init(&fs->doomed);
    waitq_init(&fs->trim_turn);
    waitq_init(&fs->deleters_done);
    waitq_init(&fs->commit_done);
    waitq_init(&fs->checkpoint_done);
    waitq_init(&fs->writeback_done);
    waitq_init(&fs->flusher_wake);
    waitq_init(&fs->flusher_idle);
    list_init(&fs->open_inodes);
    list_init(&fs->open_groups);
    return fs;
}

void fs_destroy(struct fs *fs)
{
    inode_cache_destroy(fs);
    alloc_unload(fs);
    buf_put(fs->bufs, fs->super);
    if (fs->jrn)
        jrn_destroy(fs->jrn);
    shep_set_geometry(fs->config.shep, NULL);
    free(fs);
}

// --- mount -----------------------------------------------------------------------------------------

// Features that only a writer must know, and this one does not: then it does not write.
static void obey_features(struct fs *fs)
{
    if (!fs->geo.read_only_why || fs->read_only)
        return;
    log_warn("event=read_only feature=\"%s\" what=\"not supported for writing: the volume is mounted read-only\"",
             fs->geo.read_only_why);
    fs->read_only = fs->config.read_only = true;
}

static YIELDS int read_first_super(struct fs *fs, struct err *err)
{
    AUTO_FREE uint8_t *bytes = xblocks(1);
    int rc = fs_read_raw(fs, 0, bytes);
    if (rc < 0)
        return err_set(err, -rc, "block 0 of the volume cannot be read");
    rc = super_decode(bytes + EXT4_SUPER_OFFSET, shep_block_count(fs->config.shep), &fs->geo, err);
    if (rc < 0)
        return rc;
    obey_features(fs);
    shep_set_geometry(fs->config.shep, &fs->geo);
    return 0;
}

static YIELDS int replay(struct fs *fs, struct err *err)
{
    if (!jrn_needs_recovery(fs->jrn))
        return 0;
    if (!(fs->geo.incompat & EXT4_INCOMPAT_RECOVER))
        return err_set(err, EFSCORRUPTED, "the journal holds transactions of which the superblock knows nothing (run e2fsck)");
    uint64_t blocks = 0;
    struct err detail = {0};
    int rc = jrn_recover(fs->jrn, &blocks, &detail);
    if (rc == -EROFS)
        return err_set(err, EROFS, "the journal must be replayed first, but the disk is read-only");
    if (rc < 0)
        return err_set(err, -rc, "the journal cannot be replayed: %s", detail.text[0] ? detail.text : "an I/O error");
    if (!jrn_is_adopted(fs->jrn))
        log_info("event=journal_replayed blocks=%" PRIu64, blocks);
    return 0;
}

static YIELDS int open_journal(struct fs *fs, const struct journal_place *place, struct err *err)
{
    struct jrn_config config = {
        .rt = fs->rt, .shep = fs->config.shep, .cache = fs->bufs, .geo = &fs->geo,
        .runs = place->runs, .run_count = place->run_count, .read_only = fs->read_only,
        .adopt = fs->config.successor, .landed = fs->config.landed, .committed_hint = fs->config.committed_hint,
    };
    int rc = jrn_open(&config, &fs->jrn, err);
    if (rc < 0)
        return err_set(err, -rc, "the journal cannot be opened (run e2fsck)");
    return replay(fs, err);
}

// What the disk holds decides which pages of a predecessor have settled.
static void tell_recovered(struct fs *fs)
{
    uint64_t tid = jrn_recovered_tid(fs->jrn);
    page_pool_committed(fs->pages, tid);
    if (fs->config.recovered)
        fs->config.recovered(fs->config.recovered_arg, tid);
}

// The replay may have brought a newer one.
static YIELDS int read_super(struct fs *fs, struct err *err)
{
    struct shep_ref ref = {.type = BLOCK_SUPERBLOCK};
    int rc = buf_get(fs->bufs, &ref, 0, &fs->super);
    if (rc < 0)
        return err_set(err, -rc, "the superblock cannot be read");
    rc = super_decode(fs_super_raw(fs), shep_block_count(fs->config.shep), &fs->geo, err);
    if (rc < 0)
        return rc;
    // An earlier life that ended in an abort left its mark in the journal, if nowhere else.
    if (jrn_recorded_error(fs->jrn)) {
        fs->geo.state |= EXT4_STATE_ERROR;
        fs_note_error(fs);
    }
    if (fs->geo.state & EXT4_STATE_ERROR)
        log_warn("event=volume_has_errors next=\"unmount it and run e2fsck\"");
    return 0;
}

static YIELDS int load_all(struct fs *fs, const struct journal_place *place, struct err *err)
{
    int rc = alloc_load(fs, err);
    if (rc < 0)
        return err_set(err, -rc, "the group descriptors cannot be loaded (run e2fsck)");
    for (uint32_t i = 0; i < place->run_count; i++)
        zones_add(fs, place->runs[i].block, place->runs[i].count);
    if (!zones_finish(fs)) {
        log_error("event=metadata_overlaps");
        return err_set(err, EFSCORRUPTED, "bitmaps, inode tables or the journal lie over each other (run e2fsck)");
    }
    fs->overhead_blocks = fs_super_overhead(fs, place->block_count);
    guard_seal_geo(fs);
    return 0;
}

// The log is empty here, also after a replay: the volume is as it says it is. But for an adopted one: then
// it is in use already, by the predecessor, and what the log holds of the superblock is newer than home.
static YIELDS int take_into_use(struct fs *fs, struct err *err)
{
    if (fs->read_only)
        return 0;
    if (jrn_is_adopted(fs->jrn))
        return orphan_recover(fs, fs->config.keep_orphans, err);
    int rc = fs_super_take(fs);
    if (rc < 0)
        return err_set(err, -rc, rc == -EROFS ? "the disk is read-only (mount it with -o ro)"
                                              : "the superblock cannot be written");
    jrn_clear_error(fs->jrn);       // the superblock says it now
    return orphan_recover(fs, fs->config.keep_orphans, err);
}

static YIELDS int mount_steps(struct fs *fs, struct journal_place *place, struct err *err)
{
    int rc = read_first_super(fs, err);
    if (rc == 0)
        rc = journal_find(fs, place, err);
    if (rc == 0)
        rc = open_journal(fs, place, err);
    if (rc < 0)
        return rc;
    tell_recovered(fs);
    rc = read_super(fs, err);
    if (rc == 0)
        rc = load_all(fs, place, err);
    if (rc == 0)
        rc = take_into_use(fs, err);
    return rc;
}

int fs_mount(const struct fs_config *config, struct fs **out, struct err *err)
{
    struct fs *fs = fs_create(config);
    struct journal_place place = {0};
    int rc = mount_steps(fs, &place, err);
    free(place.runs);
    if (rc < 0) {
        while (fs->deleters > 0)
            waitq_wait(fs->rt, &fs->deleters_done);
        fs_destroy(fs);
        return rc;
    }
    log_info("event=mounted blocks=%" PRIu64 " free=%" PRIu64 " read_only=%d", fs->geo.block_count,
             fs->free_blocks, fs->read_only);
    *out = fs;
    return 0;
}

// --- unmount ---------------------------------------------------------------------------------------

static YIELDS int settle(struct fs *fs)
{
    inode_delete_orphans(fs);
    int rc = data_writeback_some(fs, 0);
    if (rc < 0)
        log_error("event=data_lost_at_unmount error=%d", rc);   // metadata never named it: still consistent
    rc = fs_commit(fs);
    return rc < 0 ? rc : fs_checkpoint(fs, UINT64_MAX);
}

static YIELDS int give_back(struct fs *fs)
{
    int rc = settle(fs);
    if (rc == 0)
        rc = fs_writable(fs);
    if (rc < 0)
        return rc;
    rc = jrn_close(fs->jrn);
    fs->jrn = NULL;
    return rc < 0 ? rc : fs_super_give_back(fs);
}

int fs_unmount(struct fs *fs)
{
    int rc = 0;
    fs_stop_flusher(fs);
    while (fs->deleters > 0)
        waitq_wait(fs->rt, &fs->deleters_done);
    if (!fs->read_only)
        rc = fs_writable(fs) == 0 ? give_back(fs) : fs_writable(fs);
    fs_super_record_error(fs);
    if (rc < 0)
        log_error("event=unmounted_dirty error=%d next=\"the next mount recovers\"", rc);
    else
        log_info("event=unmounted");
    fs_destroy(fs);
    return rc;
}

// --- trust -----------------------------------------------------------------------------------------

int fs_writable(const struct fs *fs)
{
    if (fs->shut_down)
        return -EIO;
    if (fs->read_only || fs->broken || jrn_is_aborted(fs->jrn))
        return -EROFS;
    return 0;
}

void fs_abort(struct fs *fs, int error, const char *why)
{
    if (fs->broken)
        return;
    fs->broken = error;
    log_error("event=volume_aborted error=%d why=\"%s\" state=read-only next=\"unmount it and run e2fsck\"", error, why);
    if (!fs->read_only)
        jrn_abort(fs->jrn, error, why);
    fs_flusher_hint(fs);
}
