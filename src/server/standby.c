// SPDX-License-Identifier: MIT
// standby.c - a server that has everything but the mount: it sleeps until the owner's death.
//
// Whatever needs no truth of the disk is done beforehand: descriptors, mappings, sandbox, stacks of fibres, and
// the page tables of what recovery will touch. Only pages of the legacy that exist are touched: a page of
// a memfd comes into being when it is first looked at.
#include "server/server.h"

#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cache/page.h"
#include "guardian/deathwatch.h"

#define LOOK_NS 500000000ull        // how often it looks whether the legacy has grown
#define WARM_HEAP (4u << 20)
#define WARM_PIECE (64u << 10)

#define WARM_FIBRES 16              // about as many as a burst of requests needs
#define WARM_STACK (12u << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

// --- warming up -----------------------------------------------------------------------------------

// Maps those pages of legacy[at, at + bytes) that exist.
static void populate(struct server *s, uint64_t at, uint64_t bytes)
{
    int fd = s->handoff->legacy_fd;
    uint64_t end = at + bytes;
    while (at < end) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= end)
            return;
        off_t hole = lseek(fd, data, SEEK_HOLE);
        uint64_t stop = hole < 0 ? end : MIN((uint64_t)hole, end);
        if (madvise((uint8_t *)s->legacy + data, stop - (uint64_t)data, MADV_POPULATE_WRITE) < 0)
            return;                 // an older kernel, or no memory: it takes a little longer then
        at = stop;
    }
}

// Header, records and log, and of the arena what describes pages, not the pages.
static void populate_all(struct server *s)
{
    const struct legacy *l = s->legacy;
    populate(s, 0, l->arena_at);
    populate(s, l->arena_at, page_arena_bytes(l->page_count) - l->page_count * BLOCK_BYTES);
}

// The program itself, of which so far only what starts a server has been run.
static void warm_program(void)
{
    extern char __executable_start, etext, end;
    uintptr_t page = BLOCK_BYTES - 1, text = (uintptr_t)&__executable_start & ~page;
    uintptr_t data = ((uintptr_t)&etext + page) & ~page, stop = ((uintptr_t)&end + page) & ~page;
    if (madvise((void *)text, data - text, MADV_POPULATE_READ) < 0 || madvise((void *)data, stop - data, MADV_POPULATE_READ) < 0)
        log_debug("event=not-populated errno=%d", errno);
}

// A stack for each of so many fibres, used once: they wait for one another, and end in the loop's first turn.
static void touch_stack(void *arg)
{
    struct server *s = arg;
    volatile uint8_t room[WARM_STACK];
    for (size_t i = 0; i < sizeof(room); i += BLOCK_BYTES)
        room[i] = 0;
    waitq_wait(s->rt, &s->warm);
}

static void warm_stacks(struct server *s)
{
    waitq_init(&s->warm);
    for (int i = 0; i < WARM_FIBRES; i++)
        rt_call(s->rt, "warm", touch_stack, s);
}

// What the door reads its first requests into.
static void warm_slots(struct server *s)
{
    void *memory = mmap(NULL, WARM_SLOTS * FUSE_SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    s->slot_memory = memory == MAP_FAILED ? NULL : memory;
}

// The C library keeps what was once asked for and given back, when it is told to.
static void warm_heap(void)
{
    mallopt(M_TRIM_THRESHOLD, 2 * WARM_HEAP);
    void *pieces[WARM_HEAP / WARM_PIECE];
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        if ((pieces[i] = malloc(WARM_PIECE)))
            memset(pieces[i], 0, WARM_PIECE);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        free(pieces[i]);
}

// --- the wait -------------------------------------------------------------------------------------

// The system call by hand: the C library's fstat() makes one that could also name a path, which the
// sandbox has none of.
static void look(struct server *s, blkcnt_t *seen)
{
    struct stat st;
    if (syscall(SYS_fstat, s->handoff->legacy_fd, &st) < 0 || st.st_blocks == *seen)
        return;
    *seen = st.st_blocks;
    populate_all(s);
}

void standby_wait(struct server *s)
{
    uint32_t *word = &s->legacy->owner.word;
    blkcnt_t seen = 0;
    warm_program();
    warm_stacks(s);
    warm_slots(s);
    warm_heap();
    look(s, &seen);
    guardian_tell(s, LINK_STANDBY_READY, 0, DROVER_VERSION);
    for (;;) {
        int rc = deathwatch_wait(word, LOOK_NS);
        if (s->legacy->ended)
            _exit(0);
        if (rc == 0 && deathwatch_claim(word) == 0)
            break;
        look(s, &seen);
    }
    s->began_ns = server_now_ns();
    guardian_tell(s, LINK_TAKING, (int)s->legacy->death, "");
    waitq_wake_all(s->rt, &s->warm);
}
