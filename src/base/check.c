// SPDX-License-Identifier: MIT
// check.c - the end of a process that broke its own promise.
#include "base/check.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

void check_failed(const char *cond, const char *file, int line, const char *func)
{
    log_error("event=check-failed cond=\"%s\" at=%s:%d func=%s", cond, file, line, func);
    abort();
}

static void *or_die(void *ptr, size_t size)
{
    if (!ptr && size) {
        log_error("event=out-of-memory bytes=%zu", size);
        abort();
    }
    return ptr;
}

void *xmalloc(size_t size) { return or_die(malloc(size), size); }
void *xcalloc(size_t count, size_t size) { return or_die(calloc(count, size), size); }
void *xrealloc(void *ptr, size_t size) { return or_die(realloc(ptr, size), size); }
char *xstrdup(const char *text) { return or_die(strdup(text), 1); }

void *xblocks(size_t block_count)
{
    void *ptr = or_die(aligned_alloc(BLOCK_BYTES, block_count * BLOCK_BYTES), block_count);
    return memset(ptr, 0, block_count * BLOCK_BYTES);
}
