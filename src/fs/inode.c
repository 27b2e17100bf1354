// SPDX-License-Identifier: MIT
// inode.c - inodes in memory: found, read and judged, changed, encoded, dropped.
//
// An inode stays in memory while anybody needs it: references, lookups of the kernel, dirty pages,
// changes that wait for the commit, orphanhood. What nobody needs waits in the LRU until the table
// is over its limit. Its table block is referenced all that time, so that neither dirtying it
// nor encoding it ever waits.
#include "fs/inode.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/fs_internal.h"
#include "fs/inode_internal.h"
#include "fs/map.h"
#include "ondisk/extent.h"

#define TYPE_MASK 0170000u

// --- birth and death in memory -------------------------------------------------------------------

static struct inode *inode_create(struct fs *fs, uint32_t ino, struct buf *table, const struct ext4_inode *d)
{
    struct inode *inode = xcalloc(1, sizeof *inode);
    inode->fs = fs;
    inode->ino = ino;
    inode->refs = 1;
    inode->table = table;
    inode->d = *d;
    inode->size = inode->logged.disk = d->size;
    list_init(&inode->lru);
    list_init(&inode->dirty_link);
    list_init(&inode->data_link);
    list_init(&inode->orphan_link);
    list_init(&inode->open_link);
    page_map_init(&inode->pages, ino, d->generation);
    page_map_adopt(fs->pages, &inode->pages);
    waitq_init(&inode->gate_wait);
    htable_insert(&fs->inodes, &inode->node, ino);
    return inode;
}

static void inode_free(struct inode *inode)
{
    struct fs *fs = inode->fs;
    if (!inode->gone)
        htable_remove(&fs->inodes, &inode->node);
    list_remove(&inode->lru);
    list_remove(&inode->dirty_link);
    list_remove(&inode->data_link);
    list_remove(&inode->orphan_link);
    list_remove(&inode->open_link);
    page_map_fini(fs->pages, &inode->pages);
    buf_put(fs->bufs, inode->table);
    inode_fini(&inode->d);
    free(inode);
}

void inode_unhash(struct inode *inode)
{
    CHECK(!inode->gone);
    inode->gone = true;
    htable_remove(&inode->fs->inodes, &inode->node);
}

static bool is_needed(const struct inode *inode)
{
    return inode->refs > 0 || inode->lookups > 0 || inode->dirty || list_linked(&inode->orphan_link) ||
           list_linked(&inode->data_link) || inode->pages.dirty_count > 0 || inode->writing_back ||
           inode->pages.settle_count > 0 || inode->doomed;
}

void inode_settle(struct inode *inode)
{
    struct fs *fs = inode->fs;
    if (is_needed(inode))
        return;
    if (inode->gone) {
        inode_free(inode);
        return;
    }
    list_remove(&inode->lru);
    list_push_back(&fs->inode_lru, &inode->lru);
    if (fs->inodes.count > fs->inode_limit)
        inode_cache_trim(fs);
}

void inode_cache_trim(struct fs *fs)
{
    while (fs->inodes.count > fs->inode_limit && !list_empty(&fs->inode_lru)) {
        struct inode *oldest = LIST_ENTRY(fs->inode_lru.next, struct inode, lru);
        list_remove(&oldest->lru);
        if (!is_needed(oldest))
            inode_free(oldest);
    }
}

void inode_cache_destroy(struct fs *fs)
{
    HTABLE_EACH(node, &fs->inodes)
        inode_free(CONTAINER_OF(node, struct inode, node));
    htable_fini(&fs->inodes);
    list_init(&fs->orphans);
    list_init(&fs->dirty_inodes);
    list_init(&fs->dirty_data);
}

struct inode *inode_ref(struct inode *inode)
{
    inode->refs++;
    if (!inode->doomed)             // the deleter's queue uses the same link
        list_remove(&inode->lru);
    return inode;
}

void inode_put(struct inode *inode)
{
    if (!inode)
        return;
    CHECK(inode->refs > 0);
    inode->refs--;
    if (inode->deleting)            // the deleter waits for the last other user
        waitq_wake_all(inode->fs->rt, &inode->gate_wait);
    if (inode->refs == 0)
        inode_settle(inode);
}

struct inode *inode_peek(struct fs *fs, uint32_t ino)
{
    struct hnode *node = htable_find(&fs->inodes, ino);
    return node ? inode_ref(CONTAINER_OF(node, struct inode, node)) : NULL;
}

// --- reading ---------------------------------------------------------------------------------------

bool inode_has_map(const struct inode *inode)
{
    if (inode_is_reg(inode) || inode_is_dir(inode))
        return true;
    return inode_is_symlink(inode) && !inode_is_fast_symlink(&inode->d);
}

static bool has_known_type(uint16_t mode)
{
    switch (mode & TYPE_MASK) {
    case 0010000: case 0020000: case 0040000: case 0060000:
    case 0100000: case 0120000: case 0140000:
        return true;
    default:
        return false;
    }
}

static const char *judge_flags(const struct fs *fs, const struct ext4_inode *d)
{
    if ((d->flags & EXT4_INLINE_DATA_FL) && !(fs->geo.incompat & EXT4_INCOMPAT_INLINE_DATA))
        return "inline data on a volume without them";
    if ((d->flags & EXT4_ENCRYPT_FL) && !(fs->geo.incompat & EXT4_INCOMPAT_ENCRYPT))
        return "encrypted on a volume without encryption";
    if (d->flags & EXT4_EA_INODE_FL)
        return "it holds the value of an attribute";
    if ((d->flags & EXT4_INDEX_FL) && (d->mode & TYPE_MASK) == 0040000 && !fs->geo.has_dir_index &&
        fs->geo.has_metadata_csum)
        return "an indexed directory on a volume without dir_index";
    if ((d->flags & EXT4_EXTENTS_FL) && !fs->geo.has_extents)
        return "extents on a volume without them";
    return NULL;
}

const char *inode_judge(const struct fs *fs, const struct ext4_inode *d)
{
    uint16_t type = d->mode & TYPE_MASK;
    const char *why = judge_flags(fs, d);
    if (why)
        return why;
    if (!has_known_type(d->mode))
        return "no such file type";
    if (d->size > INT64_MAX)
        return "negative size";
    if (d->file_acl && !alloc_is_data_range(fs, d->file_acl, 1))
        return "its attribute block lies outside the volume's data";
    bool mapped = type == 0100000 || type == 0040000 || (type == 0120000 && !inode_is_fast_symlink(d));
    if (mapped && (d->flags & EXT4_EXTENTS_FL) &&
        extent_node_verify(&fs->geo, d->block, EXT4_EXTENT_ROOT_BYTES, -1, &why) < 0)
        return why;
    return NULL;
}

static int complain(struct fs *fs, uint32_t ino, int rc, const char *why)
{
    log_error("event=inode_bad ino=%u block=%" PRIu64 " why=\"%s\"", ino, inode_place(fs, ino).block, why);
    fs_note_error(fs);
    return rc;
}

// Decodes the slot and judges it. On success the table reference belongs to the inode.
static int make_from_table(struct fs *fs, uint32_t ino, struct buf *table, bool special, struct inode **out)
{
    struct ext4_inode d;
    const char *why = "damaged";
    int rc = inode_decode(&fs->geo, ino, table->bytes + inode_place(fs, ino).offset, &d, &why);
    if (rc < 0) {
        buf_check_now(fs->bufs, table);     // or is it only our memory?
        return complain(fs, ino, rc, why);
    }
    if (d.mode == 0 || (d.nlink == 0 && !special)) {
        inode_fini(&d);
        return -ESTALE;
    }
    why = inode_judge(fs, &d);
    if (why) {
        inode_fini(&d);
        return complain(fs, ino, -EFSCORRUPTED, why);
    }
    *out = inode_create(fs, ino, table, &d);
    return 0;
}

// The inode if it is in memory and may be had; 0 in *rc then.
static struct inode *find(struct fs *fs, uint32_t ino, bool special, int *rc)
{
    struct inode *inode = inode_peek(fs, ino);
    *rc = 0;
    if (inode)
        guard_check(inode);
    if (inode && ((inode->deleting || inode->special) && !special)) {
        inode_put(inode);
        inode = NULL;
        *rc = -ESTALE;
    }
    return inode;
}

static YIELDS int get(struct fs *fs, uint32_t ino, bool special, struct inode **out)
{
    int rc;
    *out = find(fs, ino, special, &rc);
    if (*out || rc < 0)
        return rc;
    if (inode_was_never_used(fs, ino))
        return -ESTALE;
    struct shep_ref ref = {.type = BLOCK_INODE_TABLE};
    struct buf *table;
    rc = buf_get(fs->bufs, &ref, inode_place(fs, ino).block, &table);
    if (rc < 0)
        return rc;
    *out = find(fs, ino, special, &rc);     // while we waited another fibre may have read it
    if (!*out && rc == 0) {
        rc = make_from_table(fs, ino, table, special, out);
        if (rc == 0)
            return 0;               // the table's reference is the inode's now
    }
    buf_put(fs->bufs, table);
    return rc;
}

int inode_get(struct fs *fs, uint32_t ino, struct inode **out)
{
    if (ino > fs->geo.inode_count || (ino < fs->geo.first_ino && ino != EXT4_ROOT_INO) ||
        (fs->geo.orphan_file_ino && ino == fs->geo.orphan_file_ino))
        return -ESTALE;
    return get(fs, ino, false, out);
}

int inode_get_special(struct fs *fs, uint32_t ino, struct inode **out)
{
    if (ino == 0 || ino > fs->geo.inode_count)
        return -ESTALE;
    return get(fs, ino, true, out);
}

// --- change and commit -------------------------------------------------------------------------------

void inode_dirty(struct inode *inode, bool datasync)
{
    struct fs *fs = inode->fs;
    jrn_join(fs->jrn, inode->table);
    guard_open(inode);
    inode->tid = jrn_running_tid(fs->jrn);
    if (datasync)
        inode->datasync_tid = inode->tid;
    if (inode->dirty || inode->gone)
        return;
    inode->dirty = true;
    list_push_back(&fs->dirty_inodes, &inode->dirty_link);
    if (!inode->doomed)
        list_remove(&inode->lru);
}

void inode_encode_now(struct inode *inode)
{
    struct fs *fs = inode->fs;
    guard_before_encode(inode);
    buf_open(fs->bufs, inode->table);
    inode_encode(&fs->geo, inode->ino, &inode->d, inode->fresh,
                 inode->table->bytes + inode_place(fs, inode->ino).offset);
    inode->logged.tid = jrn_running_tid(fs->jrn);
    inode->logged.disk = inode->d.size;
    inode->logged.size = inode->size;
    inode->fresh = false;
    inode->dirty = false;
    list_remove(&inode->dirty_link);
}

void inode_encode_all(struct fs *fs)
{
    struct list *link;
    while (!list_empty(&fs->dirty_inodes)) {
        link = fs->dirty_inodes.next;
        struct inode *inode = LIST_ENTRY(link, struct inode, dirty_link);
        inode_encode_now(inode);
        inode_settle(inode);
    }
}

// --- new inodes ----------------------------------------------------------------------------------------

// What a child takes of its directory's flags.
static uint32_t inherited_flags(const struct inode_new *spec)
{
    uint32_t flags = spec->flags & EXT4_FL_INHERITED;
    switch (spec->mode & TYPE_MASK) {
    case 0040000: return flags;
    case 0100000: return flags & EXT4_REG_FLMASK;
    default:      return flags & EXT4_OTHER_FLMASK;
    }
}

struct inode *inode_apply_new(struct plan *plan, const struct inode_new *spec)
{
    struct fs *fs = plan->fs;
    uint16_t type = spec->mode & TYPE_MASK;
    struct buf *table = buf_peek(fs->bufs, inode_place(fs, spec->ino).block);
    CHECK(table != NULL);           // inode_plan_new() has pinned it
    struct ext4_inode d = {
        .mode = spec->mode, .uid = spec->uid, .gid = spec->gid,
        .flags = inherited_flags(spec), .generation = spec->generation, .project = spec->project,
    };
    inode_body_init(&fs->geo, &d);
    d.atime = d.mtime = d.ctime = d.crtime = inode_clamp_time(&d, fs_now(fs));
    struct inode *inode = inode_create(fs, spec->ino, buf_ref(table), &d);
    inode->fresh = true;
    if (type == 0100000 || type == 0040000) {
        if (fs->geo.has_extents) {
            inode->d.flags |= EXT4_EXTENTS_FL;
            map_init_root(inode);
        }
    } else if (type == 0020000 || type == 0060000) {
        inode_set_device(&inode->d, spec->rdev_major, spec->rdev_minor);
    }
    inode_dirty(inode, true);
    return inode;
}
