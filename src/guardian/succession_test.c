// SPDX-License-Identifier: MIT
// succession_test.c - deaths and who comes after, with processes that do nothing but die: promotion, the brake,
// upgrades. What such a process would say over its link, the test says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/check.h"
#include "guardian/guardian.h"

struct rig {
    struct guardian *g;
    struct {
        int ours, theirs;
    } links[2 * OWN_CRASHES];       // theirs: what the servers would write to
    size_t link_count;
};

static int set_up(void **state)
{
    struct rig *r = xcalloc(1, sizeof(*r));
    struct guardian *g = r->g = xcalloc(1, sizeof(*g));
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        g->clients[i].fd = -1;
    g->opt = (struct options){.disk = "/disk", .mountpoint = "/mnt", .ready_fd = -1, .standby = true, .plog_bytes = 1 << 20, .hang_s = 10};
    g->legacy = xcalloc(1, BLOCK_BYTES);
    g->store.state_fd = g->server_fd = g->candidate_fd = -1;
    g->was_serving = true;
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    succession_end(r->g);
    for (size_t i = 0; i < r->link_count; i++)
        close(r->links[i].theirs);
    free(r->g->legacy);
    free(r->g);
    free(r);
    return 0;
}

static int link_of(struct rig *r, const struct server *s)
{
    for (size_t i = r->link_count; i-- > 0;)
        if (r->links[i].ours == s->link_fd)
            return r->links[i].theirs;
    fail();
    return -1;
}

static void start(struct rig *r, struct server *out, enum server_state server_state, uint32_t generation)
{
    int link[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link), 0);
    r->links[r->link_count].ours = link[0];
    r->links[r->link_count++].theirs = link[1];
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    *out = (struct server){.state = server_state, .pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0), .link_fd = link[0],
                           .generation = generation, .looked_ns = guardian_now_ns()};
    assert_true(out->pidfd >= 0);
}

static void say(struct rig *r, const struct server *s, enum link_kind kind, int rc, const void *text, size_t len)
{
    struct link_head head = {.kind = kind, .rc = rc, .text_len = (uint32_t)len};
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)text, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    assert_true(sendmsg(link_of(r, s), &msg, 0) > 0);
}

static void kill_and_wait(const struct server *s, int signal)
{
    struct pollfd pollfd = {.fd = s->pidfd, .events = POLLIN};
    kill(s->pid, signal);
    assert_int_equal(poll(&pollfd, 1, 5000), 1);
}

static struct corpse *first_corpse(struct guardian *g)
{
    for (size_t i = 0; i < CORPSES_MAX; i++)
        if (g->corpses[i].server.pid)
            return &g->corpses[i];
    return NULL;
}

static void mount_with_standby(struct rig *r)
{
    start(r, &r->g->server, SERVER_SERVING, 1);
    start(r, &r->g->standby, SERVER_WAITING, 2);
    r->g->mounted = true;
    r->g->legacy->owner.word = (uint32_t)r->g->server.pid | FUTEX_WAITERS;
}

// The standby woke up, and serves.
static void take_over(struct rig *r, uint64_t pause_ns)
{
    struct link_serving told = {.pause_ns = pause_ns};
    pid_t heir = r->g->standby.pid;
    say(r, &r->g->standby, LINK_TAKING, DEATH_SILENT, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->standby));
    assert_int_equal(r->g->server.pid, heir);
    say(r, &r->g->server, LINK_SERVING, 0, &told, sizeof(told));
    assert_true(watch_read_link(r->g, &r->g->server));
    assert_int_equal(r->g->server.state, SERVER_SERVING);
}

// --- promotion ------------------------------------------------------------------------------------

static void a_standby_that_takes_over_is_the_server_before_the_dead_one_is_gone(void **state)
{
    struct rig *r = *state;
    mount_with_standby(r);
    pid_t old = r->g->server.pid;
    kill_and_wait(&r->g->server, SIGKILL);
    take_over(r, 1500000);
    assert_int_equal(r->g->standby.pid, 0);
    assert_int_equal(r->g->recoveries, 1);
    assert_true(r->g->pauses_ms[0] == 1.5);
    struct corpse *corpse = first_corpse(r->g);
    assert_non_null(corpse);
    assert_int_equal(corpse->server.pid, old);
    succession_corpse_died(r->g, corpse);
    assert_null(first_corpse(r->g));
    assert_false(r->g->over);
}

static void a_death_that_is_seen_first_leaves_the_mount_to_the_standby(void **state)
{
    struct rig *r = *state;
    mount_with_standby(r);
    kill_and_wait(&r->g->server, SIGKILL);
    succession_server_died(r->g);
    assert_int_equal(r->g->server.pid, 0);
    assert_true(r->g->legacy->owner.word & FUTEX_OWNER_DIED);   // the kernel knew nothing of that word
    assert_true(r->g->heir_by_ns > 0);
    take_over(r, 1000000);
    assert_null(first_corpse(r->g));
    assert_int_equal(r->g->heir_by_ns, 0);
    assert_int_equal(r->g->recoveries, 1);
}

static void a_standby_that_does_not_take_over_is_ended(void **state)
{
    struct rig *r = *state;
    mount_with_standby(r);
    kill_and_wait(&r->g->server, SIGKILL);
    succession_server_died(r->g);
    succession_turn(r->g, guardian_now_ns());
    assert_false(r->g->standby.was_killed_by_us);
    succession_turn(r->g, guardian_now_ns() + 10000000000ull);
    assert_true(r->g->standby.was_killed_by_us);
}

static void a_standby_says_nothing_that_only_a_server_may_say(void **state)
{
    struct rig *r = *state;
    mount_with_standby(r);
    pid_t server = r->g->server.pid, standby = r->g->standby.pid;
    const enum link_kind kinds[] = {LINK_READY, LINK_SERVING, LINK_ENDED, LINK_STATUS, LINK_STANDBY_READY, 99};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        say(r, &r->g->standby, kinds[i], 0, "text", 4);
        assert_true(watch_read_link(r->g, &r->g->standby));
    }
    assert_int_equal(r->g->server.pid, server);
    assert_int_equal(r->g->server.state, SERVER_SERVING);
    assert_int_equal(r->g->standby.pid, standby);
    assert_int_equal(r->g->standby.state, SERVER_WAITING);
    say(r, &r->g->server, LINK_TAKING, 0, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->server));
    assert_int_equal(r->g->server.pid, server);
}

static void of_a_mount_that_has_ended_nobody_takes_over(void **state)
{
    struct rig *r = *state;
    mount_with_standby(r);
    say(r, &r->g->server, LINK_ENDED, 0, "clean", 5);
    assert_true(watch_read_link(r->g, &r->g->server));
    pid_t server = r->g->server.pid;
    say(r, &r->g->standby, LINK_TAKING, 0, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->standby));
    assert_int_equal(r->g->server.pid, server);
    assert_true(r->g->standby.was_killed_by_us);
    kill_and_wait(&r->g->server, SIGKILL);
    succession_server_died(r->g);
    assert_true(r->g->over);
    assert_int_equal(r->g->end_rc, 0);
}

// --- the brake --------------------------------------------------------------------------------------

static void crashes_are_counted_also_when_a_standby_is_faster(void **state)
{
    struct rig *r = *state;
    start(r, &r->g->server, SERVER_SERVING, 1);
    for (uint32_t i = 1; i < OWN_CRASHES; i++) {
        start(r, &r->g->standby, SERVER_WAITING, i + 1);
        kill_and_wait(&r->g->server, SIGABRT);
        take_over(r, 1);
        succession_corpse_died(r->g, first_corpse(r->g));
        assert_false(r->g->over);
    }
    start(r, &r->g->standby, SERVER_WAITING, OWN_CRASHES + 1);
    kill_and_wait(&r->g->server, SIGABRT);
    take_over(r, 1);
    assert_false(r->g->over);
    succession_corpse_died(r->g, first_corpse(r->g));
    assert_true(r->g->over);
    assert_int_equal(r->g->end_rc, -EIO);
}

static void one_request_that_kills_every_successor_ends_the_mount(void **state)
{
    struct rig *r = *state;
    start(r, &r->g->server, SERVER_SERVING, 1);
    for (uint32_t i = 0; i < QUICK_DEATHS; i++) {
        assert_false(r->g->over);
        r->g->legacy->received++;   // it got a request, and answered none
        start(r, &r->g->standby, SERVER_WAITING, i + 2);
        kill_and_wait(&r->g->server, SIGABRT);
        take_over(r, 1);
        succession_corpse_died(r->g, first_corpse(r->g));
    }
    assert_true(r->g->over);
}

static void kills_from_outside_end_nothing(void **state)
{
    struct rig *r = *state;
    for (uint32_t i = 0; i < OUTSIDE_DEATHS; i++) {
        start(r, &r->g->server, SERVER_MOUNTED, i + 1);     // it does not serve yet
        start(r, &r->g->standby, SERVER_WAITING, i + 2);
        kill_and_wait(&r->g->server, SIGKILL);
        say(r, &r->g->standby, LINK_TAKING, 0, NULL, 0);
        assert_true(watch_read_link(r->g, &r->g->standby));
        succession_corpse_died(r->g, first_corpse(r->g));
        assert_false(r->g->over);
        kill_and_wait(&r->g->server, SIGKILL);
        waitpid(r->g->server.pid, NULL, 0);
        r->g->server.pid = 0;
    }
    assert_true(r->g->restart_at_ns > guardian_now_ns());   // but it becomes slower
}

static void standbys_that_die_are_replaced_more_and_more_slowly(void **state)
{
    struct rig *r = *state;
    uint64_t last = 0;
    start(r, &r->g->server, SERVER_SERVING, 1);
    for (uint32_t i = 0; i < 4; i++) {
        start(r, &r->g->standby, SERVER_STARTING, i + 2);
        kill_and_wait(&r->g->standby, SIGKILL);
        uint64_t before = guardian_now_ns();
        succession_standby_died(r->g, &r->g->standby);
        assert_int_equal(r->g->standby.pid, 0);
        assert_true(r->g->standby_at_ns - before > last);
        last = r->g->standby_at_ns - before;
    }
    assert_int_equal(r->g->server.state, SERVER_SERVING);
}

// --- upgrades -----------------------------------------------------------------------------------------

static void an_upgrade_puts_the_old_standby_aside_and_counts_as_no_recovery(void **state)
{
    struct rig *r = *state;
    struct link_head head;
    mount_with_standby(r);
    start(r, &r->g->candidate, SERVER_STARTING, 3);
    strcpy(r->g->upgrade_from, "1");
    upgrade_turn(r->g, guardian_now_ns());
    assert_int_equal(recv(link_of(r, &r->g->server), &head, sizeof(head), MSG_DONTWAIT), -1);
    say(r, &r->g->candidate, LINK_STANDBY_READY, 0, "2", 1);
    assert_true(watch_read_link(r->g, &r->g->candidate));
    upgrade_turn(r->g, guardian_now_ns());
    assert_int_equal(recv(link_of(r, &r->g->server), &head, sizeof(head), MSG_DONTWAIT), sizeof(head));
    assert_int_equal(head.kind, LINK_HAND_OVER);
    assert_int_equal(r->g->standby.pid, 0);
    kill_and_wait(&r->g->server, SIGTERM);
    say(r, &r->g->candidate, LINK_TAKING, 0, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->candidate));
    say(r, &r->g->server, LINK_SERVING, 0, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->server));
    assert_string_equal(r->g->server.version, "2");
    assert_int_equal(r->g->recoveries, 0);
    assert_int_equal(r->g->upgrade_from[0], 0);
}

// The server died before it was told to hand over, and the new program woke up first.
static void the_new_program_takes_over_by_chance(struct rig *r)
{
    mount_with_standby(r);
    start(r, &r->g->candidate, SERVER_WAITING, 3);
    strcpy(r->g->upgrade_from, "1");
    kill_and_wait(&r->g->server, SIGKILL);
    say(r, &r->g->candidate, LINK_TAKING, 0, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->candidate));
    assert_true(r->g->server.is_new);
}

static void an_upgrade_by_chance_leaves_no_standby_of_the_old_program(void **state)
{
    struct rig *r = *state;
    the_new_program_takes_over_by_chance(r);
    say(r, &r->g->server, LINK_SERVING, 0, NULL, 0);
    assert_true(watch_read_link(r->g, &r->g->server));
    assert_int_equal(r->g->upgrade_from[0], 0);
    assert_int_equal(r->g->standby.pid, 0);
}

static void a_new_program_that_dies_before_it_serves_ends_the_upgrade_when_the_standby_is_faster(void **state)
{
    struct rig *r = *state;
    the_new_program_takes_over_by_chance(r);
    kill_and_wait(&r->g->server, SIGABRT);
    take_over(r, 1);
    assert_int_equal(r->g->upgrade_from[0], 0);
    assert_false(r->g->server.is_new);
}

static void a_candidate_that_says_no_changes_nothing(void **state)
{
    struct rig *r = *state;
    mount_with_standby(r);
    pid_t server = r->g->server.pid, standby = r->g->standby.pid;
    start(r, &r->g->candidate, SERVER_STARTING, 3);
    strcpy(r->g->upgrade_from, "1");
    say(r, &r->g->candidate, LINK_FAILED, -EPROTO, "another layout", 14);
    kill_and_wait(&r->g->candidate, SIGTERM);
    succession_standby_died(r->g, &r->g->candidate);
    upgrade_turn(r->g, guardian_now_ns());
    assert_int_equal(r->g->upgrade_from[0], 0);
    assert_int_equal(r->g->server.pid, server);
    assert_int_equal(r->g->standby.pid, standby);
    assert_int_equal(r->g->candidate.pid, 0);
    assert_false(r->g->server.hands_over);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_standby_that_takes_over_is_the_server_before_the_dead_one_is_gone),
        T(a_death_that_is_seen_first_leaves_the_mount_to_the_standby),
        T(a_standby_that_does_not_take_over_is_ended),
        T(a_standby_says_nothing_that_only_a_server_may_say),
        T(of_a_mount_that_has_ended_nobody_takes_over),
        T(crashes_are_counted_also_when_a_standby_is_faster),
        T(one_request_that_kills_every_successor_ends_the_mount),
        T(kills_from_outside_end_nothing),
        T(standbys_that_die_are_replaced_more_and_more_slowly),
        T(an_upgrade_puts_the_old_standby_aside_and_counts_as_no_recovery),
        T(an_upgrade_by_chance_leaves_no_standby_of_the_old_program),
        T(a_new_program_that_dies_before_it_serves_ends_the_upgrade_when_the_standby_is_faster),
        T(a_candidate_that_says_no_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
