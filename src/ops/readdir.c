// SPDX-License-Identifier: MIT
// readdir.c - the entries of a directory, with or without the attributes behind them.
//
// dir_read() hands out entries one block at a time and must not be interrupted, but attributes have to
// be read from the disk. So entries are collected in batches, then looked up, then emitted. Between
// batches the directory may change: cookies stay good (fs/dir.h).
#include "ops/internal.h"

#include <dirent.h>
#include <string.h>

#include "base/check.h"

#define BATCH_ENTRIES 128
#define BATCH_BYTES 8192

struct batch_entry {
    uint32_t ino;
    uint8_t file_type, name_len;
    uint16_t name_at;               // in `bytes`
    uint64_t next_cookie;
};
struct batch {
    uint32_t count, used;
    bool full;
    struct batch_entry entries[BATCH_ENTRIES];
    char bytes[BATCH_BYTES];
};

struct readdir {
    struct op op;
    uint32_t ino;
    struct inode *dir;
    bool with_attrs;
    bool (*emit)(void *arg, const struct ops_dirent *entry);
    void *arg;
};

// --- collecting -------------------------------------------------------------------------------------

static bool collect(void *arg, struct dir_name name, uint32_t ino, uint8_t file_type, uint64_t next_cookie)
{
    struct batch *b = arg;

    b->full = b->count == BATCH_ENTRIES || b->used + name.len > BATCH_BYTES;
    if (b->full)
        return false;
    b->entries[b->count++] = (struct batch_entry){
        .ino = ino, .file_type = file_type, .name_len = (uint8_t)name.len,
        .name_at = (uint16_t)b->used, .next_cookie = next_cookie,
    };
    memcpy(b->bytes + b->used, name.bytes, name.len);
    b->used += (uint32_t)name.len;
    return true;
}

// --- emitting ---------------------------------------------------------------------------------------

static uint32_t dirent_type(uint8_t file_type)
{
    static const uint8_t types[] = {
        [EXT4_FT_UNKNOWN] = DT_UNKNOWN, [EXT4_FT_REG_FILE] = DT_REG, [EXT4_FT_DIR] = DT_DIR,
        [EXT4_FT_CHRDEV] = DT_CHR, [EXT4_FT_BLKDEV] = DT_BLK, [EXT4_FT_FIFO] = DT_FIFO,
        [EXT4_FT_SOCK] = DT_SOCK, [EXT4_FT_SYMLINK] = DT_LNK,
    };
    return file_type < ARRAY_LEN(types) ? types[file_type] : DT_UNKNOWN;
}

struct child {
    uint32_t ino;
    struct inode *inode;
};

static int child_pass(struct plan *plan, void *arg)
{
    struct child *c = arg;
    return plan_inode(plan, c->ino, &c->inode);
}

// False when the receiver has enough. An inode that cannot be read, or was deleted since the
// batch was collected, costs its own attributes only.
static bool emit_entry(struct readdir *r, const struct batch *b, const struct batch_entry *e)
{
    struct ops_dirent entry = {
        .name = {.bytes = b->bytes + e->name_at, .len = e->name_len},
        .ino = e->ino, .type = dirent_type(e->file_type), .next_cookie = e->next_cookie,
    };
    struct child child = {.ino = e->ino};
    struct ops_attr attr;
    struct plan plan;

    if (!r->with_attrs)
        return r->emit(r->arg, &entry);
    plan_init(&plan, r->op.fs);
    bool readable = plan_run(&plan, child_pass, &child) == 0 && child.inode->d.nlink > 0;
    if (readable) {
        op_fill_attr(child.inode, &attr);
        entry.attr = &attr;
        entry.type = (attr.mode & 0170000) >> 12;
    }
    bool accepted = r->emit(r->arg, &entry);
    if (accepted && readable && !op_name_is_dots(entry.name))
        known_add(r->op.ops, child.inode);
    plan_end(&plan);
    return accepted;
}

static int dir_pass(struct plan *plan, void *arg)
{
    struct readdir *r = arg;
    return op_dir(plan, r->ino, &r->dir);
}

static int read_all(struct readdir *r, uint64_t cookie)
{
    AUTO_FREE struct batch *b = xmalloc(sizeof *b);
    bool eof = r->dir->d.nlink == 0;        // a removed directory has no entries, not even dots

    while (!eof) {
        b->count = b->used = 0;
        b->full = false;
        int rc = dir_read(r->dir, cookie, &(struct dir_emit){.emit = collect, .arg = b}, &eof);
        for (uint32_t i = 0; i < b->count; i++) {
            if (!emit_entry(r, b, &b->entries[i]))
                return 0;
            cookie = b->entries[i].next_cookie;
        }
        if (rc < 0)
            return rc;
        if (!eof && b->count == 0)
            break;                          // no progress: a directory that lies about its end
    }
    return 0;
}

int ops_readdir(struct ops *ops, uint32_t ino, uint64_t cookie, bool with_attrs, bool (*emit)(void *arg, const struct ops_dirent *entry), void *arg)
{
    struct readdir r = {.ino = ino, .with_attrs = with_attrs, .emit = emit, .arg = arg};

    int rc = op_begin(&r.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&r.op.plan, dir_pass, &r);
    if (rc == 0)
        rc = read_all(&r, cookie);
    rc = op_end(&r.op, rc);
    if (rc == 0)
        op_accessed(ops, ino);
    return rc;
}
