// SPDX-License-Identifier: MIT
// deathwatch_test.c - owners that die in every way, and who hears of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/check.h"
#include "guardian/deathwatch.h"

#define SOON_NS 5000000000ull
#define SHORT_NS 30000000ull

enum way { BY_KILL, BY_EXIT, BY_EXEC, BY_SEGV, WAYS };

struct shared {
    uint32_t word, heard;
};

static struct shared *share(void)
{
    struct shared *shared = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    return shared;
}

NO_RETURN static void die(enum way way)
{
    char *argv[] = {"sleep", "30", NULL};
    switch (way) {
    case BY_EXEC: execv("/bin/sleep", argv); break;
    case BY_SEGV:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case BY_KILL: raise(SIGKILL); break;
    default: break;
    }
    _exit(0);
}

// An owner that lives until something is written to *go.
static pid_t own(struct shared *shared, enum way way, int go[2], bool broken_list)
{
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        if (deathwatch_register(&shared->word) < 0 || deathwatch_claim(&shared->word) < 0)
            _exit(1);
        if (broken_list)
            syscall(SYS_set_robust_list, (void *)16, sizeof(struct robust_list_head));
        if (read(go[0], &byte, 1) != 1)
            _exit(1);
        die(way);
    }
    while ((__atomic_load_n(&shared->word, __ATOMIC_ACQUIRE) & FUTEX_TID_MASK) != (uint32_t)pid)
        sched_yield();
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void every_way_to_die_is_heard_of(void **state)
{
    (void)state;
    for (enum way way = 0; way < WAYS; way++) {
        struct shared *shared = share();
        int go[2];
        pid_t pid = own(shared, way, go, false);
        assert_int_equal(deathwatch_wait(&shared->word, SHORT_NS), -ETIMEDOUT);
        assert_int_equal(deathwatch_claim(&shared->word), -EBUSY);
        assert_int_equal(write(go[1], "x", 1), 1);
        assert_int_equal(deathwatch_wait(&shared->word, SOON_NS), 0);
        assert_true(shared->word & FUTEX_OWNER_DIED);
        assert_int_equal(deathwatch_claim(&shared->word), 0);
        assert_int_equal(shared->word & FUTEX_TID_MASK, getpid());
        assert_false(shared->word & FUTEX_OWNER_DIED);
        end(pid);
        munmap(shared, BLOCK_BYTES);
    }
}

static void who_registers_and_owns_nothing_dies_unheard(void **state)
{
    (void)state;
    struct shared *shared = share();
    int go[2];
    pid_t owner = own(shared, BY_KILL, go, false);
    pid_t other = fork();
    if (other == 0)
        _exit(deathwatch_register(&shared->word) < 0);
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    assert_int_equal(deathwatch_wait(&shared->word, SHORT_NS), -ETIMEDOUT);
    assert_int_equal(shared->word & FUTEX_TID_MASK, owner);
    end(owner);
}

static void a_wake_up_without_a_death_is_slept_through(void **state)
{
    (void)state;
    struct shared *shared = share();
    int go[2];
    pid_t owner = own(shared, BY_KILL, go, false);
    pid_t noise = fork();
    if (noise == 0) {
        for (int i = 0; i < 20; i++) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            syscall(SYS_futex, &shared->word, FUTEX_WAKE, 10, NULL, NULL, 0);
        }
        _exit(0);
    }
    assert_int_equal(deathwatch_wait(&shared->word, SHORT_NS), -ETIMEDOUT);
    waitpid(noise, NULL, 0);
    end(owner);
}

static void of_two_that_wait_one_claims(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct shared *shared = share();
        int go[2];
        pid_t owner = own(shared, BY_KILL, go, false), waiters[2];
        for (int i = 0; i < 2; i++) {
            waiters[i] = fork();
            if (waiters[i] == 0) {
                if (deathwatch_register(&shared->word) < 0 || deathwatch_wait(&shared->word, SOON_NS) < 0)
                    _exit(2);
                _exit(deathwatch_claim(&shared->word) < 0);
            }
        }
        assert_int_equal(write(go[1], "x", 1), 1);
        waitpid(owner, NULL, 0);
        // The first claims and exits, which frees the word for the second: so nobody is left asleep.
        for (int i = 0; i < 2; i++) {
            int status;
            assert_int_equal(waitpid(waiters[i], &status, 0), waiters[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        }
        assert_true(shared->word & FUTEX_OWNER_DIED);
        munmap(shared, BLOCK_BYTES);
    }
}

static void the_guardian_buries_whom_the_kernel_could_not(void **state)
{
    (void)state;
    struct shared *shared = share();
    int go[2];
    pid_t owner = own(shared, BY_KILL, go, true);
    pid_t waiter = fork();
    if (waiter == 0)
        _exit(deathwatch_wait(&shared->word, SOON_NS) < 0);
    assert_int_equal(write(go[1], "x", 1), 1);
    waitpid(owner, NULL, 0);
    assert_int_equal(shared->word & FUTEX_TID_MASK, owner);
    assert_true(deathwatch_bury(&shared->word, owner, NULL, 0));
    int status;
    assert_int_equal(waitpid(waiter, &status, 0), waiter);
    assert_int_equal(status, 0);
    assert_false(deathwatch_bury(&shared->word, owner, NULL, 0));
}

static void a_word_that_was_written_over_is_buried_too_but_no_living_owner(void **state)
{
    (void)state;
    const int alive[] = {77, 78};
    uint32_t word = 0x2a5a5a;
    assert_true(deathwatch_bury(&word, 5, alive, 2));
    assert_true(word & FUTEX_OWNER_DIED);
    word = 78 | FUTEX_WAITERS;
    assert_false(deathwatch_bury(&word, 5, alive, 2));
    assert_int_equal(word, 78 | FUTEX_WAITERS);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_die_is_heard_of),
        cmocka_unit_test(who_registers_and_owns_nothing_dies_unheard),
        cmocka_unit_test(a_wake_up_without_a_death_is_slept_through),
        cmocka_unit_test(of_two_that_wait_one_claims),
        cmocka_unit_test(the_guardian_buries_whom_the_kernel_could_not),
        cmocka_unit_test(a_word_that_was_written_over_is_buried_too_but_no_living_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
