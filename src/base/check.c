// SPDX-License-Identifier: MIT
// check.c - the end of a process that broke its own promise.
#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static struct check_story story;

const struct check_story *check_story(void)
{
    return &story;
}

// Only the first story counts: what follows is its consequence.
PRINTF_LIKE(2, 3) static void tell(enum check_kind kind, const char *format, ...)
{
    if (story.kind != CHECK_PASSED)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(story.text, sizeof(story.text), format, args);
    va_end(args);
    story.kind = kind;
}

void check_failed(const char *cond, const char *file, int line, const char *func)
{
    tell(CHECK_FAILED, "%s at %s:%d in %s", cond, file, line, func);
    log_error("event=check-failed cond=\"%s\" at=%s:%d func=%s", cond, file, line, func);
    abort();
}

void damage_found(const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    tell(CHECK_DAMAGE, "%s", text);
    log_error("event=damage-found %s", text);
    abort();
}

static void *or_die(void *ptr, size_t size)
{
    if (!ptr && size) {
        tell(CHECK_NO_MEMORY, "%zu bytes were not to be had", size);
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
