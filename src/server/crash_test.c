// SPDX-License-Identifier: MIT
// crash_test.c - what a dying server leaves: each kind of death in a child, its report read by the parent.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/log.h"
#include "guardian/legacy.h"
#include "rt/rt_sim.h"
#include "server/crash.h"
#include "server/crash_text.h"
#include "server/sanitized.h"
#include "server/symbols.h"

#define REQUEST 4711u

struct scene {
    struct legacy *legacy;          // shared with the child
    uint64_t *blamed;               // the same
    int log_fd;
    struct rt *rt;
    int status;
    char report[20000];
};

static void blame(void *arg, uint64_t request)
{
    struct scene *scene = arg;
    *scene->blamed += request;
}

static void describe(void *arg, uint64_t request, char line[CRASH_LINE_MAX])
{
    (void)arg;
    if (request == REQUEST)
        strcpy(line, "unlink \"victim\" in inode 2");
}

static int *volatile nowhere = (int *)0x10;

static void describe_and_fault(void *arg, uint64_t request, char line[CRASH_LINE_MAX])
{
    (void)arg, (void)request, (void)line;
    *nowhere = 1;
}

static void *shared(size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    return map;
}

static int set_up(void **state)
{
    struct scene *scene = xcalloc(1, sizeof(*scene));
    scene->legacy = shared(sizeof(*scene->legacy));
    scene->legacy->owner.generation = 7;
    scene->blamed = shared(sizeof(*scene->blamed));
    scene->log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(scene->log_fd >= 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    munmap(scene->legacy, sizeof(*scene->legacy));
    munmap(scene->blamed, sizeof(*scene->blamed));
    close(scene->log_fd);
    free(scene);
    return 0;
}

static void become_server(struct scene *scene, void (*describe_request)(void *, uint64_t, char *))
{
    struct rlimit none = {1, 1};
    setrlimit(RLIMIT_CORE, &none);
    log_open(scene->log_fd, "server");
    scene->rt = rt_sim_create(1);
    rt_set_tag_word(scene->rt, &scene->legacy->running);
    crash_catch(&(struct crash_config){
        .log_fd = scene->log_fd,
        .generation = 7,
        .legacy = scene->legacy,
        .rt = scene->rt,
        .blame = blame,
        .describe = describe_request,
        .arg = scene,
    });
}

static void in_fibre(struct scene *scene, void (*deed)(void *arg))
{
    rt_spawn(scene->rt, "request", deed, scene);
    int rc = rt_run(scene->rt);
    _exit(rc == 0 ? 0 : 1);
}

// Lets a child do the deed, and reads what it left.
static void play(struct scene *scene, void (*deed)(struct scene *scene), bool broken_description)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        become_server(scene, broken_description ? describe_and_fault : describe);
        deed(scene);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &scene->status, 0), pid);
    ssize_t got = pread(scene->log_fd, scene->report, sizeof(scene->report) - 1, 0);
    assert_true(got >= 0);
    scene->report[got] = 0;
}

static void assert_died_of(const struct scene *scene, int signal)
{
    if (!WIFSIGNALED(scene->status) || WTERMSIG(scene->status) != signal)
        fail_msg("status %#x instead of signal %d; the report:\n%s", scene->status, signal, scene->report);
}

static void assert_says(const struct scene *scene, const char *words)
{
    if (!strstr(scene->report, words))
        fail_msg("no \"%s\" in:\n%s", words, scene->report);
}

// --- deeds --------------------------------------------------------------------------------------------------

__attribute__((noinline)) static void write_nowhere(void)
{
    *nowhere = 1;
}

static void access_nothing(void *arg)
{
    struct scene *scene = arg;
    rt_set_tag(scene->rt, REQUEST);
    write_nowhere();
    __asm__ volatile("" ::: "memory");      // not a tail call
}

static void segv_in_fibre(struct scene *scene) { in_fibre(scene, access_nothing); }

__attribute__((noinline)) static uint64_t fall(uint64_t depth)
{
    volatile char room[200];
    memset((char *)room, (int)depth, sizeof(room));
    return depth ? fall(depth + 1) + (uint64_t)room[depth % sizeof(room)] : 0;
}

static void overflow(void *arg)
{
    struct scene *scene = arg;
    rt_set_tag(scene->rt, REQUEST);
    _exit((int)fall(1));
}

static void overflow_in_fibre(struct scene *scene) { in_fibre(scene, overflow); }

static void overflow_in_loop(struct scene *scene)
{
    (void)scene;
    _exit((int)fall(1));
}

#if SANITIZED
static void use_after_free(void *arg)
{
    struct scene *scene = arg;
    int *volatile gone = xmalloc(sizeof(*gone));
    rt_set_tag(scene->rt, REQUEST);
    free(gone);
    *gone = 1;
}

static void use_after_free_in_fibre(struct scene *scene) { in_fibre(scene, use_after_free); }
#endif

static void break_promise(void *arg)
{
    struct scene *scene = arg;
    rt_set_tag(scene->rt, REQUEST);
    CHECK(scene->status == 12345);
}

static void check_in_fibre(struct scene *scene) { in_fibre(scene, break_promise); }

static void find_damage(struct scene *scene)
{
    (void)scene;
    damage_found("what=block block=%d", 99);
}

static void want_too_much(struct scene *scene)
{
    struct rlimit small = {256u << 20, 256u << 20};
    (void)scene;
    setrlimit(RLIMIT_AS, &small);
    // Nobody looks at it: the size alone would be refused at compile time.
    volatile size_t size = (size_t)1 << 40;
    free(xmalloc(size));
}

static void read_behind_file(struct scene *scene)
{
    (void)scene;
    int fd = memfd_create("empty", 0);
    volatile char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    _exit(map[0]);
}

static void run_nonsense(struct scene *scene)
{
    (void)scene;
    __builtin_trap();
}

static void divide(struct scene *scene)
{
    (void)scene;
#ifdef __x86_64__
    __asm__ volatile("xorl %%ecx, %%ecx\n\txorl %%edx, %%edx\n\tmovl $1, %%eax\n\tidivl %%ecx" ::: "eax", "ecx", "edx");
#else
    raise(SIGFPE);
#endif
}

__attribute__((noinline)) static void call_nowhere(void)
{
    void (*volatile function)(void) = NULL;
    function();
    __asm__ volatile("" ::: "memory");
}

static void jump_to_nothing(struct scene *scene)
{
    (void)scene;
    call_nowhere();
}

static void wait_for_signal(struct scene *scene)
{
    (void)scene;
    for (;;)
        pause();
}

// --- reports ------------------------------------------------------------------------------------------------

static void a_bad_access_is_told_with_address_request_trace_and_fibres(void **state)
{
    struct scene *scene = *state;
    play(scene, segv_in_fibre, false);
    assert_died_of(scene, SIGSEGV);
    assert_says(scene, " error server[");
    assert_says(scene, "event=crash signal=SIGSEGV generation=7 request=4711 what=\"bad memory access\"\n");
    assert_says(scene, "address     0x10 code ");
    assert_says(scene, "request     unlink \"victim\" in inode 2\n");
    assert_says(scene, "trace       0  write_nowhere+0x");
    assert_says(scene, "trace       1  access_nothing+0x");
    assert_says(scene, "fibre_main+0x");
    assert_says(scene, "fibre       request, runs, for request 4711, has waited 0 times\n");
    assert_says(scene, "end         of the report\n");
}

static void a_crash_is_counted_and_blamed_on_the_running_request(void **state)
{
    struct scene *scene = *state;
    play(scene, check_in_fibre, false);
    assert_died_of(scene, SIGABRT);
    assert_int_equal(scene->legacy->death, DEATH_CRASHED);
    assert_int_equal(scene->legacy->crashes, 1);
    assert_int_equal(scene->legacy->damage, 0);
    assert_int_equal(*scene->blamed, REQUEST);
}

static void a_standby_that_crashes_blames_nobody(void **state)
{
    struct scene *scene = *state;
    scene->legacy->owner.generation = 6;
    play(scene, check_in_fibre, false);
    assert_died_of(scene, SIGABRT);
    assert_int_equal(scene->legacy->death, DEATH_SILENT);
    assert_int_equal(*scene->blamed, 0);
    assert_says(scene, "event=crash signal=SIGABRT generation=7 request=0");
}

static void a_failed_check_is_told_with_its_condition(void **state)
{
    struct scene *scene = *state;
    play(scene, check_in_fibre, false);
    assert_died_of(scene, SIGABRT);
    assert_says(scene, "event=check-failed cond=\"scene->status == 12345\"");
    assert_says(scene, "what=\"failed check\"\n");
    assert_says(scene, "condition   scene->status == 12345 at ");
    assert_says(scene, "in break_promise\n");
}

static void damage_is_counted_as_such(void **state)
{
    struct scene *scene = *state;
    play(scene, find_damage, false);
    assert_died_of(scene, SIGABRT);
    assert_says(scene, "what=\"memory was damaged\"\n");
    assert_says(scene, "why         what=block block=99\n");
    assert_says(scene, "request     none: the server worked for itself\n");
    assert_int_equal(scene->legacy->damage, 1);
}

static void a_full_stack_of_a_fibre_is_told_as_such(void **state)
{
    struct scene *scene = *state;
    play(scene, overflow_in_fibre, false);
    assert_died_of(scene, SIGSEGV);
    assert_says(scene, "what=\"stack overflow\"\n");
    assert_says(scene, "below the stack of request\n");
    assert_says(scene, "fall+0x");
    assert_says(scene, "end         of the report\n");
}

static void a_full_stack_of_the_thread_is_told_as_such(void **state)
{
    struct scene *scene = *state;
    play(scene, overflow_in_loop, false);
    assert_died_of(scene, SIGSEGV);
    assert_says(scene, "what=\"stack overflow\"\n");
    assert_says(scene, "below the stack of the thread\n");
}

static void the_other_signals_are_told_too(void **state)
{
    struct scene *scene = *state;
    const struct {
        void (*deed)(struct scene *scene);
        int signal;
        const char *words;
    } deaths[] = {
        {read_behind_file, SIGBUS, "signal=SIGBUS generation=7 request=0 what=\"memory that cannot be had\"\n"},
        {run_nonsense, SIGILL, "signal=SIGILL generation=7 request=0 what=\"illegal instruction\"\n"},
        {divide, SIGFPE, "signal=SIGFPE generation=7 request=0 what=\"bad arithmetic\"\n"},
        {want_too_much, SIGABRT, "what=\"out of memory\"\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(deaths); i++) {
        play(scene, deaths[i].deed, false);
        assert_died_of(scene, deaths[i].signal);
        assert_says(scene, deaths[i].words);
    }
    assert_says(scene, "bytes were not to be had\n");
}

static void a_call_to_nowhere_is_told_with_its_caller(void **state)
{
    struct scene *scene = *state;
    play(scene, jump_to_nothing, false);
    assert_died_of(scene, SIGSEGV);
    assert_says(scene, "trace       0  0x0\n");
    assert_says(scene, "trace       1  call_nowhere+0x");
}

static void a_second_fault_ends_the_report_and_the_process(void **state)
{
    struct scene *scene = *state;
    play(scene, segv_in_fibre, true);
    assert_died_of(scene, SIGSEGV);
    assert_says(scene, "event=crash signal=SIGSEGV");
    assert_says(scene, "address     0x10 code ");
    assert_null(strstr(scene->report, "of the report"));
    assert_int_equal(scene->legacy->death, DEATH_CRASHED);
    assert_int_equal(*scene->blamed, REQUEST);
}

static void a_signal_from_outside_is_reported_and_blamed_on_nobody(void **state)
{
    struct scene *scene = *state;
    pid_t pid = fork();
    if (pid == 0) {
        scene->legacy->running = REQUEST;
        become_server(scene, describe);
        scene->legacy->beat_ns = 1;
        wait_for_signal(scene);
    }
    for (int i = 0; i < 5000 && !scene->legacy->beat_ns; i++)
        usleep(1000);
    kill(pid, SIGABRT);
    assert_int_equal(waitpid(pid, &scene->status, 0), pid);
    ssize_t got = pread(scene->log_fd, scene->report, sizeof(scene->report) - 1, 0);
    scene->report[got] = 0;
    assert_died_of(scene, SIGABRT);
    assert_says(scene, "what=\"sent by another process\"\n");
    assert_says(scene, "sender      process ");
    assert_int_equal(*scene->blamed, 0);
}

#if SANITIZED
static void a_sanitizer_that_ends_the_server_blames_the_request_too(void **state)
{
    struct scene *scene = *state;
    play(scene, use_after_free_in_fibre, false);
    assert_says(scene, "event=crash signal=none generation=7 request=4711 what=\"reported by the sanitizer\"\n");
    assert_says(scene, "request     unlink \"victim\" in inode 2\n");
    assert_int_equal(scene->legacy->death, DEATH_CRASHED);
    assert_int_equal(scene->legacy->crashes, 1);
    assert_int_equal(*scene->blamed, REQUEST);
}
#endif

// --- parts --------------------------------------------------------------------------------------------------

static void time_is_written_as_the_log_writes_it(void **state)
{
    (void)state;
    // 12 whole years at steps of 7 hours, and the ends of the century's rule.
    const int64_t starts[] = {0, 951782400 - 86400, 4107542400 - 86400};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++)
        for (int64_t sec = starts[i]; sec < starts[i] + 12 * 366 * 86400ll; sec += 7 * 3600 + 61) {
            struct crash_text text = {0};
            struct tm tm;
            time_t when = sec;
            char expected[64];
            crash_put_time(&text, &(struct timespec){.tv_sec = sec, .tv_nsec = 45999999});
            gmtime_r(&when, &tm);
            strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.045Z", &tm);
            assert_int_equal(text.len, strlen(expected));
            assert_memory_equal(text.bytes, expected, text.len);
        }
}

static void text_that_does_not_fit_is_cut_off(void **state)
{
    (void)state;
    struct crash_text text = {.len = sizeof(text.bytes) - 3};
    crash_put(&text, "abcdef");
    crash_put_number(&text, UINT64_MAX);
    assert_int_equal(text.len, sizeof(text.bytes));
    assert_memory_equal(text.bytes + sizeof(text.bytes) - 3, "abc", 3);
}

static void functions_are_found_by_address(void **state)
{
    (void)state;
    symbols_open();
    struct symbol here = symbols_find((uintptr_t)functions_are_found_by_address + 1);
    assert_string_equal(here.name, "functions_are_found_by_address");
    assert_int_equal(here.offset, 1);
    assert_string_equal(symbols_find((uintptr_t)strlen).module ? "known" : "unknown", "known");
    assert_null(symbols_find(0).module);
    assert_null(symbols_find(0).name);
    symbols_close();
}

int main(void)
{
    const struct CMUnitTest parts[] = {
        cmocka_unit_test(time_is_written_as_the_log_writes_it),
        cmocka_unit_test(text_that_does_not_fit_is_cut_off),
        cmocka_unit_test(functions_are_found_by_address),
        cmocka_unit_test_setup_teardown(a_crash_is_counted_and_blamed_on_the_running_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_standby_that_crashes_blames_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_check_is_told_with_its_condition, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_counted_as_such, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signal_from_outside_is_reported_and_blamed_on_nobody, set_up, tear_down),
    };
    const struct CMUnitTest signals[] = {
        cmocka_unit_test_setup_teardown(a_bad_access_is_told_with_address_request_trace_and_fibres, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_stack_of_a_fibre_is_told_as_such, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_stack_of_the_thread_is_told_as_such, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_other_signals_are_told_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_to_nowhere_is_told_with_its_caller, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_fault_ends_the_report_and_the_process, set_up, tear_down),
    };
    int failed = cmocka_run_group_tests(parts, NULL, NULL);
#if SANITIZED
    // These signals, and the back-trace, are the sanitizer's.
    const struct CMUnitTest sanitized[] = {
        cmocka_unit_test_setup_teardown(a_sanitizer_that_ends_the_server_blames_the_request_too, set_up, tear_down),
    };
    (void)signals;
    return failed + cmocka_run_group_tests(sanitized, NULL, NULL);
#else
    return failed + cmocka_run_group_tests(signals, NULL, NULL);
#endif
}
