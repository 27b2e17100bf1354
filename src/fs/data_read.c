// SPDX-License-Identifier: MIT
// data_read.c - reading: pages in memory are copied, holes are zero, runs of blocks come straight from
// the disk into the caller's memory, several at a time.
//
// Reads do not fill the page cache: what programs read again the kernel keeps by itself.
#include <string.h>

#include "base/check.h"
#include "fs/data_internal.h"

#define READ_JOBS_MAX 16u

// One run of blocks that comes from the disk.
struct read_job {
    struct inode *inode;
    uint64_t lblock, block;
    uint32_t count;
    uint8_t *out;                   // where its first wanted byte goes
    uint32_t skip;                  // bytes of the first block that are not wanted
    size_t len;                     // bytes that are wanted
    bool direct;                    // `out` is aligned and has room for whole blocks
};

struct read_work {
    struct inode *inode;
    uint64_t pos, end;
    uint64_t off;                   // of the request: out[0] is the byte at off
    uint8_t *out;
    struct read_job jobs[READ_JOBS_MAX];
    uint32_t job_count;
};

static int run_job(void *arg)
{
    struct read_job *job = arg;
    struct inode *inode = job->inode;
    struct block_owner owner = {.ino = inode->ino, .generation = inode->d.generation, .lblock = job->lblock};
    AUTO_FREE uint8_t *bounce = job->direct ? NULL : xblocks(job->count);
    struct iovec iov = {.iov_base = bounce ? bounce : job->out, .iov_len = (size_t)job->count << BLOCK_SHIFT};
    int rc = data_read_blocks(inode->fs->bufs, &owner, job->block, &iov, 1);
    if (rc == 0 && bounce)
        memcpy(job->out, bounce + job->skip, job->len);
    return rc;
}

static int run_jobs(struct read_work *work)
{
    if (work->job_count == 0)
        return 0;
    uint32_t count = work->job_count;
    work->job_count = 0;
    if (count == 1)
        return run_job(&work->jobs[0]);
    struct rt_group group;
    rt_group_init(&group, work->inode->fs->rt);
    for (uint32_t i = 0; i < count; i++)
        rt_group_go(&group, "read", run_job, &work->jobs[i]);
    return rt_group_wait(&group);
}

// Wanted bytes of the page at `pos`, or fewer.
static size_t wanted(const struct read_work *work, uint64_t blocks)
{
    return MIN(work->end - work->pos, (blocks << BLOCK_SHIFT) - in_page(work->pos));
}

static void add_job(struct read_work *work, const struct map_run *run, uint32_t count)
{
    uint8_t *out = work->out + (work->pos - work->off);
    work->jobs[work->job_count++] = (struct read_job){
        .inode = work->inode, .lblock = run->lblock, .block = run->block, .count = count, .out = out,
        .skip = in_page(work->pos), .len = wanted(work, count), .direct = in_page(work->off) == 0,
    };
}

// Takes the next piece: a page in memory, a hole, or a run of blocks to read.
static int read_piece(struct read_work *work)
{
    struct inode *inode = work->inode;
    uint64_t index = page_of(work->pos), count = page_of(work->end - 1) - index + 1;
    uint8_t *out = work->out + (work->pos - work->off);
    struct page *page = page_find(inode->fs->pages, &inode->pages, index);
    if (page) {
        size_t len = wanted(work, 1);
        memcpy(out, page->bytes + in_page(work->pos), len);
        work->pos += len;
        return 0;
    }
    struct map_run run;
    int rc = map_lookup(NULL, inode, index, count, &run);
    if (rc < 0)
        return rc;
    // The lookup may have waited: a page that came meanwhile is newer than the run.
    page = page_next(&inode->pages, index, 0);
    if (page && page->index - index < run.count)
        run.count = page->index - index;
    if (run.count == 0)
        return 0;
    if (run.state == MAP_WRITTEN)
        add_job(work, &run, (uint32_t)run.count);
    else
        memset(out, 0, wanted(work, run.count));
    work->pos += wanted(work, run.count);
    return 0;
}

ssize_t data_read(struct inode *inode, uint64_t off, size_t len, void *out)
{
    inode_gate_share(inode);
    uint64_t size = inode->size, end = len < size && off < size - len ? off + len : size;
    struct read_work work = {.inode = inode, .pos = off, .end = end, .off = off, .out = out};
    int rc = 0;
    while (rc == 0 && work.pos < end) {
        rc = read_piece(&work);
        if (rc == 0 && work.job_count == READ_JOBS_MAX)
            rc = run_jobs(&work);
    }
    int jobs_rc = run_jobs(&work);
    inode_gate_unshare(inode);
    if (rc < 0 || jobs_rc < 0)
        return rc < 0 ? rc : jobs_rc;
    return off < end ? (ssize_t)(end - off) : 0;
}
