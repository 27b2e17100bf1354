// SPDX-License-Identifier: MIT
// plog_death_test.c - the writer dies behind every single instruction of what it does to the log.
//
// A child does it, one machine instruction at a time; whenever the log's memory has changed, a successor looks at a copy
// of it. What is live there is what was live before, or what is afterwards: nothing between, and nothing damaged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/check.h"
#include "plog/plog.h"

#define LIVE_MAX 16u
#define WATCHED_BYTES (plog_bytes(LIVE_MAX))    // where these tests write

struct rig {
    struct plog log;
    uint8_t *memory;                // shared with the child
    size_t bytes;
    uint64_t sequence;
    uint64_t committed;             // what the disk holds when the successor looks
    struct plog_room room;
};

struct live {
    uint64_t count, seq[LIVE_MAX];
};

struct visit {
    const struct plog *log;
    uint64_t committed;
    struct live *out;
};

static struct rig *rig_create(void)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    rig->bytes = plog_bytes(PLOG_SLOTS_MIN);
    rig->memory = mmap(NULL, rig->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(rig->memory != MAP_FAILED);
    plog_init(&rig->log, rig->memory, rig->bytes, &rig->sequence);
    assert_true(plog_reserve(&rig->log, &rig->room, LIVE_MAX));
    return rig;
}

static void rig_destroy(struct rig *rig)
{
    munmap(rig->memory, rig->bytes);
    free(rig);
}

static void append(struct rig *rig, uint64_t tid)
{
    plog_append(&rig->log, &rig->room, &(struct plog_entry){.op = PLOG_CREATE, .tid = tid, .name_len = 5}, "named", NULL);
}

// The log's next owner: another handle on the same memory.
static void succeed(struct rig *rig)
{
    assert_int_equal(plog_attach(&rig->log, rig->memory, rig->bytes, &rig->sequence), 0);
    assert_int_equal(plog_redo_begin(&rig->log, rig->committed), 0);
    rig->room = (struct plog_room){0};
    assert_true(plog_reserve(&rig->log, &rig->room, 8));
}

// --- the successor's look ---------------------------------------------------------------------------

static int collect(void *arg, const struct plog_view *view)
{
    struct visit *visit = arg;
    if (plog_state(visit->log, view->entry, visit->committed) == PLOG_LIVE)
        visit->out->seq[visit->out->count++ % LIVE_MAX] = view->entry->seq;
    return 0;
}

static struct live look(const struct rig *rig)
{
    struct live live = {0};
    struct plog log;
    uint64_t sequence = rig->sequence;
    AUTO_FREE void *copy = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    memcpy(copy, rig->memory, rig->bytes);
    assert_int_equal(plog_attach(&log, copy, rig->bytes, &sequence), 0);
    assert_int_equal(plog_redo_begin(&log, rig->committed), 0);
    assert_int_equal(plog_walk(&log, collect, &(struct visit){&log, rig->committed, &live}), 0);
    return live;
}

// --- step by step -------------------------------------------------------------------------------------

static bool same(const struct live *a, const struct live *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

NO_RETURN static void child(struct rig *rig, void (*act)(struct rig *rig))
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(77);
    raise(SIGSTOP);
    act(rig);
    _exit(0);
}

// How many states of the memory the successor has seen.
static uint64_t die_behind_each_instruction(struct rig *rig, void (*act)(struct rig *rig))
{
    AUTO_FREE uint8_t *last = xmalloc(WATCHED_BYTES);
    struct live now = look(rig);
    uint64_t states = 0;
    bool ended = false;             // what is afterwards has been seen
    int status;
    pid_t pid = fork();
    if (pid == 0)
        child(rig, act);
    memcpy(last, rig->memory, WATCHED_BYTES);
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        if (memcmp(last, rig->memory, WATCHED_BYTES) != 0) {
            memcpy(last, rig->memory, WATCHED_BYTES);
            struct live then = look(rig);
            states++;
            if (!same(&then, &now)) {
                assert_false(ended);
                ended = true;
                now = then;
            }
        }
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return states;
}

// --- what it does -------------------------------------------------------------------------------------

static void append_one(struct rig *rig)
{
    append(rig, 7);
}

static void trim(struct rig *rig)
{
    plog_trim(&rig->log, rig->committed, NULL);
}

static void redo_first(struct rig *rig)
{
    plog_redone(&rig->log, 1, 101);
}

static void begin_again(struct rig *rig)
{
    succeed(rig);
}

static void a_death_in_an_append_leaves_all_of_the_entry_or_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    append(rig, 5);
    assert_true(die_behind_each_instruction(rig, append_one) > 2);
    assert_int_equal(look(rig).count, 2);
    rig_destroy(rig);
}

static void a_death_in_a_trim_gives_nothing_back_that_is_live(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 5; tid < 9; tid++)
        append(rig, tid);
    rig->committed = 6;
    assert_true(die_behind_each_instruction(rig, trim) > 1);
    assert_int_equal(look(rig).count, 2);
    rig->committed = 8;
    assert_true(die_behind_each_instruction(rig, trim) > 1);
    assert_int_equal(look(rig).count, 0);
    rig_destroy(rig);
}

// The dead server's transactions 101 to 103 are lost; its entries were applied again in our 101, which has
// committed. What they say of transactions means nothing, least of all when the marks are gone.
static void a_death_in_the_trim_that_ends_a_recovery_makes_nothing_live_again(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct rig *rig = rig_create();
        for (uint64_t tid = 101; tid <= 103; tid++)
            append(rig, tid);
        rig->committed = 100;
        succeed(rig);
        for (uint64_t seq = 1; seq <= 3; seq++)
            plog_redone(&rig->log, seq, 101);
        if (own)
            append(rig, 102);
        rig->committed = 101;
        assert_true(die_behind_each_instruction(rig, trim) > 2);
        assert_int_equal(look(rig).count, own);
        rig_destroy(rig);
    }
}

static void a_death_in_a_recovery_leaves_what_was_live_live(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 100; tid <= 103; tid++)
        append(rig, tid);
    rig->committed = 100;
    assert_true(die_behind_each_instruction(rig, begin_again) > 1);
    assert_int_equal(look(rig).count, 3);
    struct rig *other = rig_create();
    append(other, 101);
    other->committed = 100;
    succeed(other);
    assert_true(die_behind_each_instruction(other, redo_first) > 1);
    assert_int_equal(look(other).count, 1);
    rig_destroy(other);
    rig_destroy(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_death_in_an_append_leaves_all_of_the_entry_or_nothing),
        cmocka_unit_test(a_death_in_a_trim_gives_nothing_back_that_is_live),
        cmocka_unit_test(a_death_in_the_trim_that_ends_a_recovery_makes_nothing_live_again),
        cmocka_unit_test(a_death_in_a_recovery_leaves_what_was_live_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
