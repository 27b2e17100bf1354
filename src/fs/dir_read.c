// SPDX-License-Identifier: MIT
// dir_read.c - listing a directory so that a place in it stays good while names come and go.
//
// Where the volume has dir_index and the directory is indexed or has one block, names come in the
// order of their hashes, and the cookie of a name is made from its hash: no split moves it. 63 bits:
//
//   | major >> 1 (31) | minor (32), its two lowest bits replaced by a count of equals |
//
// Cookies 1 and 2 are "." and "..". One leaf (with those that go on with its last hash) is read at a
// time, all of it at one moment, and copied; then it is emitted, which may wait.
//
// Other directories come in the order of their blocks; the cookie is the byte behind the start of the
// entry. A call that begins inside a block walks it from its start, so a cookie whose entry is gone
// does no harm.
#include "fs/dir.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "fs/htree.h"

#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
#define COOKIE_FIRST 4u                 // the smallest of a hashed name
#define COOKIE_EQUALS 3u                // mask of the count of names that are equal but for it
// Names held at a time. More than that with one hash are read in several turns.
#define NAMES_MAX 16384u
#define PREFETCH_BLOCKS 8u

struct read_name {
    uint64_t cookie;                    // hashed: with a count of 0 until the names are sorted
    uint32_t minor;
    uint32_t ino;
    uint8_t file_type, len;
    char bytes[];
};

struct reading {
    struct inode *dir;
    const struct dir_emit *emit;
    uint64_t after;                     // the cookie emitted last
    // What one pass reads:
    uint64_t from;                      // hashed: lowest major; linear: lblock
    uint64_t next;                      // where the pass after it begins
    bool end;                           // there is none
    struct read_name **names;
    uint32_t count, capacity;
};

static int read_hashed(struct reading *reading, bool *full);
static int read_linear(struct reading *reading, bool *full);

struct order {
    struct inode *dir;
    bool hashed;                        // false also for an index by rules that we do not know
};

static int order_pass(struct plan *plan, void *arg)
{
    struct order *order = arg;
    struct htree tree;
    order->hashed = false;
    if (!order->dir->fs->geo.has_dir_index)
        return 0;
    if (!dir_is_indexed(order->dir)) {
        order->hashed = dir_block_count(order->dir) == 1;
        return 0;
    }
    int rc = htree_open(plan, order->dir, &tree);
    order->hashed = rc == 0;
    return MIN(rc, 0);
}

static int planned(struct inode *dir, int (*pass)(struct plan *plan, void *arg), void *arg)
{
    struct plan plan;
    plan_init(&plan, dir->fs);
    int rc = plan_run(&plan, pass, arg);
    plan_end(&plan);
    return rc;
}

static void drop_names(struct reading *reading, uint32_t keep)
{
    while (reading->count > keep)
        free(reading->names[--reading->count]);
}

int dir_read(struct inode *dir, uint64_t cookie, const struct dir_emit *emit, bool *eof)
{
    struct reading reading = {.dir = dir, .emit = emit, .after = cookie};
    struct order order = {.dir = dir};
    bool full = false;
    *eof = false;
    if (!inode_is_dir(dir))
        return -ENOTDIR;
    if (dir_is_gone(dir)) {
        *eof = true;
        return 0;
    }
    int rc = planned(dir, order_pass, &order);
    if (rc == 0)
        rc = order.hashed ? read_hashed(&reading, &full) : read_linear(&reading, &full);
    drop_names(&reading, 0);
    free(reading.names);
    *eof = rc == 0 && !full;
    return rc;
}

// --- what both orders share -----------------------------------------------------------------------

static void add_name(struct reading *reading, const struct ext4_dirent_raw *entry, uint64_t cookie, uint32_t minor)
{
    if (reading->count == reading->capacity) {
        reading->capacity = reading->capacity ? 2 * reading->capacity : 128;
        reading->names = xrealloc(reading->names, reading->capacity * sizeof *reading->names);
    }
    struct read_name *name = xmalloc(sizeof *name + entry->name_len);
    *name = (struct read_name){.cookie = cookie, .minor = minor, .ino = le32(entry->ino), .len = entry->name_len,
                               .file_type = reading->dir->fs->geo.has_filetype ? entry->file_type : EXT4_FT_UNKNOWN};
    memcpy(name->bytes, entry->name, entry->name_len);
    reading->names[reading->count++] = name;
}

// A name with a slash or a NUL cannot be shown; the kernel answers EIO, too.
static int judge_name(const struct inode *dir, const struct buf *buf, const struct ext4_dirent_raw *entry)
{
    if (dirent_name_is_sane(entry))
        return 0;
    log_error("event=damaged type=dir ino=%u lblock=%llu why=\"name with a slash or a NUL\"", dir->ino,
              (unsigned long long)buf->ref.owner.lblock);
    return -EIO;
}

// Emits what was collected. May wait in emit().
static void emit_names(struct reading *reading, bool *full)
{
    for (uint32_t i = 0; i < reading->count && !*full; i++) {
        const struct read_name *name = reading->names[i];
        if (name->cookie <= reading->after)
            continue;
        struct dir_name shown = {name->bytes, name->len};
        if (reading->emit->emit(reading->emit->arg, shown, name->ino, name->file_type, name->cookie))
            reading->after = name->cookie;
        else
            *full = true;
    }
}

// Starts reading a block that will be wanted soon.
static int prefetch(struct plan *plan, struct inode *dir, uint64_t lblock)
{
    struct map_run run;
    if (lblock >= dir_block_count(dir))
        return 0;
    int rc = map_lookup(plan, dir, lblock, 1, &run);
    if (rc == 0 && run.state == MAP_WRITTEN) {
        struct shep_ref ref = {.type = BLOCK_DIR, .owner = {.ino = dir->ino, .generation = dir->d.generation, .lblock = lblock}};
        buf_prefetch(dir->fs->bufs, &ref, run.block, 1);
    }
    return rc;
}

// --- by hash ----------------------------------------------------------------------------------------

static int by_cookie(const void *a, const void *b)
{
    const struct read_name *one = *(struct read_name *const *)a, *two = *(struct read_name *const *)b;
    if (one->cookie != two->cookie)
        return one->cookie < two->cookie ? -1 : 1;
    if (one->minor != two->minor)
        return one->minor < two->minor ? -1 : 1;
    int order = memcmp(one->bytes, two->bytes, MIN(one->len, two->len));
    return order ? order : (int)one->len - (int)two->len;
}

// Sorts, and tells equals apart by counting them.
static void order_names(struct reading *reading)
{
    if (reading->count == 0)
        return;
    qsort(reading->names, reading->count, sizeof *reading->names, by_cookie);
    uint64_t base = 0;
    uint32_t equals = 0;
    for (uint32_t i = 0; i < reading->count; i++) {
        struct read_name *name = reading->names[i];
        equals = i > 0 && name->cookie == base ? MIN(equals + 1, COOKIE_EQUALS) : 0;
        base = name->cookie;
        name->cookie |= equals;
    }
}

static int cookie_of(const struct inode *dir, const struct htree *tree, struct dir_name name, struct dx_hash *hash, uint64_t *cookie)
{
    int rc = htree_hash(dir, tree, name, hash);
    if (rc < 0)
        return rc;
    // The legacy hash has no minor half, and its major collides in any large directory.
    if (tree->hash_version == DX_HASH_LEGACY || tree->hash_version == DX_HASH_LEGACY_UNSIGNED)
        hash->minor = crc32c(~0u, name.bytes, name.len);
    uint64_t wide = (uint64_t)(hash->major >> 1) << 32 | hash->minor;
    *cookie = MAX(wide & ~(uint64_t)COOKIE_EQUALS, (uint64_t)COOKIE_FIRST);
    return 0;
}

static int collect_hashed(const struct plan *plan, struct reading *reading, const struct htree *tree, const struct buf *leaf, struct htree_range range, bool has_dots)
{
    struct inode *dir = reading->dir;
    struct dir_walk walk = dir_walk_start(&dir->fs->geo, leaf->bytes);
    const struct ext4_dirent_raw *entry;
    while ((entry = dir_walk_next(&walk))) {
        if (le32(entry->ino) == 0 || (has_dots && walk.offset <= DIR_DOTDOT_AT))
            continue;
        struct dx_hash hash;
        uint64_t cookie;
        int rc = judge_name(dir, leaf, entry);
        if (rc == 0)
            rc = cookie_of(dir, tree, (struct dir_name){entry->name, entry->name_len}, &hash, &cookie);
        if (rc < 0)
            return rc;
        if (hash.major < (range.lo & ~1u) || hash.major >= range.hi)
            return dir_damaged(plan, dir, leaf->ref.owner.lblock, "name in a leaf that is not its own");
        if (hash.major >= (reading->from & ~1ull) && (cookie | COOKIE_EQUALS) > reading->after)
            add_name(reading, entry, cookie, hash.minor);
    }
    return walk.why ? dir_damaged(plan, dir, leaf->ref.owner.lblock, walk.why) : 0;
}

// Too many names of one hash: keep the first half of those seen, and come again for the rest.
static void keep_lowest(struct reading *reading, bool *cut)
{
    if (reading->count < NAMES_MAX)
        return;
    qsort(reading->names, reading->count, sizeof *reading->names, by_cookie);
    drop_names(reading, NAMES_MAX / 2);
    *cut = true;
}

static int prefetch_leaves(struct plan *plan, struct inode *dir, const struct htree *tree)
{
    const struct htree_frame *last = &tree->frames[tree->last];
    struct map_run run;
    int rc = map_lookup(plan, dir, htree_leaf_lblock(tree), 1, &run);
    if (rc < 0 || run.state != MAP_WRITTEN)
        return rc;
    if (buf_peek(dir->fs->bufs, run.block))
        return 0;                       // whoever brought it in has brought those behind it, too
    for (uint32_t i = last->at + 1; i < last->view.count && i <= last->at + PREFETCH_BLOCKS && rc == 0; i++)
        rc = prefetch(plan, dir, dx_block_at(&last->view, i));
    return rc;
}

static int collect_leaves(struct plan *plan, struct reading *reading, struct htree *tree)
{
    bool more = true, cut = false;
    int rc = prefetch_leaves(plan, reading->dir, tree);
    while (rc == 0 && more) {
        struct buf *leaf;
        rc = htree_leaf(plan, reading->dir, tree, &leaf);
        if (rc == 0)
            rc = collect_hashed(plan, reading, tree, leaf, htree_range(tree), false);
        keep_lowest(reading, &cut);
        reading->next = htree_range(tree).hi;
        if (rc == 0)
            rc = htree_continue(plan, reading->dir, tree, &more);
    }
    reading->end = reading->next == HTREE_END;
    if (cut) {
        reading->next = reading->from;
        reading->end = false;
    }
    return rc;
}

static int hashed_pass(struct plan *plan, void *arg)
{
    struct reading *reading = arg;
    struct inode *dir = reading->dir;
    struct htree tree;
    drop_names(reading, 0);
    if (dir_is_indexed(dir)) {
        int rc = htree_open(plan, dir, &tree);
        if (rc == HTREE_UNKNOWN)
            return dir_damaged(plan, dir, 0, "index changed its kind");
        if (rc == 0)
            rc = htree_descend(plan, dir, (uint32_t)reading->from & ~1u, &tree);
        return rc < 0 ? rc : collect_leaves(plan, reading, &tree);
    }
    struct buf *first;
    tree = (struct htree){.hash_version = dir->fs->geo.hash_version};
    reading->end = true;
    int rc = dir_block_need(plan, dir, 0, &first);
    if (rc == 0 && !dir_block_is_leaf(dir, first))
        rc = dir_damaged(plan, dir, 0, "index block in a linear directory");
    return rc < 0 ? rc : collect_hashed(plan, reading, &tree, first, (struct htree_range){.lo = 0, .hi = HTREE_END}, true);
}

struct dots {
    struct inode *dir;
    uint32_t self_ino, parent_ino;
};

static int dots_pass(struct plan *plan, void *arg)
{
    struct dots *dots = arg;
    struct buf *first;
    int rc = dir_block_need(plan, dots->dir, 0, &first);
    return rc < 0 ? rc : dir_dots(plan, dots->dir, first, &dots->self_ino, &dots->parent_ino);
}

static int emit_dots(struct reading *reading, bool *full)
{
    struct dots dots = {.dir = reading->dir};
    if (reading->after >= COOKIE_DOTDOT)
        return 0;
    int rc = planned(reading->dir, dots_pass, &dots);
    if (rc < 0)
        return rc;
    const struct dir_emit *emit = reading->emit;
    uint8_t type = reading->dir->fs->geo.has_filetype ? EXT4_FT_DIR : EXT4_FT_UNKNOWN;
    if (reading->after < COOKIE_DOT) {
        *full = !emit->emit(emit->arg, (struct dir_name){".", 1}, dots.self_ino, type, COOKIE_DOT);
        if (*full)
            return 0;
        reading->after = COOKIE_DOT;
    }
    *full = !emit->emit(emit->arg, (struct dir_name){"..", 2}, dots.parent_ino, type, COOKIE_DOTDOT);
    if (!*full)
        reading->after = COOKIE_DOTDOT;
    return 0;
}

static int read_hashed(struct reading *reading, bool *full)
{
    int rc = emit_dots(reading, full);
    // Of the hash that the cookie stands in, those behind it are still to come.
    reading->from = MIN((reading->after >> 32) << 1, (uint64_t)UINT32_MAX);
    while (rc == 0 && !*full) {
        rc = planned(reading->dir, hashed_pass, reading);
        if (rc < 0)
            break;
        uint64_t before = reading->after;
        order_names(reading);
        emit_names(reading, full);
        if (reading->end)
            break;
        // Nodes whose hashes go backwards would lead us round for ever.
        if (!*full && reading->next <= reading->from && reading->after == before)
            return dir_damaged(NULL, reading->dir, 0, "hashes of the index go backwards");
        reading->from = reading->next;
    }
    return rc;
}

// --- by place -----------------------------------------------------------------------------------------

static int collect_block(const struct plan *plan, struct reading *reading, const struct buf *buf, uint64_t lblock)
{
    struct inode *dir = reading->dir;
    struct dir_walk walk = dir_walk_start(&dir->fs->geo, buf->bytes);
    const struct ext4_dirent_raw *entry;
    int rc = 0;
    while (rc == 0 && (entry = dir_walk_next(&walk))) {
        uint64_t cookie = (lblock << BLOCK_SHIFT) + walk.offset + 1;
        if (le32(entry->ino) == 0 || cookie <= reading->after)
            continue;
        rc = judge_name(dir, buf, entry);
        if (rc == 0)
            add_name(reading, entry, cookie, 0);
    }
    if (rc == 0 && walk.why)
        rc = dir_damaged(plan, dir, lblock, walk.why);
    return rc;
}

// An unknown index is passed over: its root shows "." and "..", its nodes nothing.
static int collect_root(const struct plan *plan, struct reading *reading, const struct buf *buf)
{
    uint32_t self_ino, parent_ino;
    int rc = dir_dots(plan, reading->dir, buf, &self_ino, &parent_ino);
    if (rc < 0)
        return rc;
    if (reading->after < 1)
        add_name(reading, dirent_at(buf->bytes, 0), 1, 0);
    if (reading->after < DIR_DOTDOT_AT + 1)
        add_name(reading, dirent_at(buf->bytes, DIR_DOTDOT_AT), DIR_DOTDOT_AT + 1, 0);
    return 0;
}

static int linear_pass(struct plan *plan, void *arg)
{
    struct reading *reading = arg;
    struct inode *dir = reading->dir;
    uint64_t lblock = reading->from, hole = 0;
    struct buf *buf;
    drop_names(reading, 0);
    reading->end = lblock >= dir_block_count(dir);
    if (reading->end)
        return 0;
    int rc = 0;
    for (uint64_t i = 1; i <= PREFETCH_BLOCKS && rc == 0 && lblock % PREFETCH_BLOCKS == 0; i++)
        rc = prefetch(plan, dir, lblock + i);
    if (rc == 0)
        rc = dir_block_get(plan, dir, lblock, &buf, &hole);
    if (rc < 0)
        return rc;
    reading->next = lblock + (buf ? 1 : hole);
    if (!buf)
        return 0;
    if (dir_block_is_leaf(dir, buf))
        return collect_block(plan, reading, buf, lblock);
    return lblock == 0 ? collect_root(plan, reading, buf) : 0;
}

static int read_linear(struct reading *reading, bool *full)
{
    reading->from = reading->after ? (reading->after - 1) >> BLOCK_SHIFT : 0;
    while (!*full) {
        int rc = planned(reading->dir, linear_pass, reading);
        if (rc < 0)
            return rc;
        if (reading->end)
            break;
        emit_names(reading, full);
        reading->from = reading->next;
    }
    return 0;
}
