// SPDX-License-Identifier: MIT
// guardian_test.c - the control protocol, the names of mounts, the options, the locks on disks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "guardian/guardian.h"
#include "guardian/handoff.h"
#include "guardian/sys_mount.h"

// --- control ------------------------------------------------------------------------------------

struct rig {
    struct guardian *g;
    char dir[64];
    int client;
};

static int set_up(void **state)
{
    struct rig *r = xcalloc(1, sizeof(*r));
    struct err err = {0};
    strcpy(r->dir, "/tmp/drover-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    setenv("DROVER_RUN_DIR", r->dir, 1);
    r->g = xcalloc(1, sizeof(*r->g));
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        r->g->clients[i].fd = -1;
    r->g->opt.disk = "/disk";
    r->g->opt.mountpoint = "/mnt/a b";
    control_path(r->g->opt.mountpoint, ".sock", r->g->socket_path);
    assert_int_equal(clients_listen(r->g, &err), 0);
    r->client = control_connect(r->g->socket_path);
    assert_true(r->client >= 0);
    clients_accept(r->g);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    close(r->client);
    clients_end(r->g);
    rmdir(r->dir);
    free(r->g);
    free(r);
    return 0;
}

static void without_a_server_the_status_is_the_guardians_half(void **state)
{
    struct rig *r = *state;
    struct control_answer answer;
    static char text[CONTROL_TEXT_MAX];
    r->g->pauses_ms[0] = 3;
    r->g->pauses_ms[1] = 1;
    r->g->pauses_ms[2] = 2;
    r->g->pause_count = r->g->recoveries = 3;
    assert_int_equal(control_send(r->client, CONTROL_STATUS), 0);
    clients_read(r->g, &r->g->clients[0]);
    assert_int_equal(control_receive(r->client, 1000, &answer, text), 0);
    assert_int_equal(answer.rc, 0);
    assert_int_equal(answer.text_len, 0);
    assert_string_equal(answer.state.mountpoint, "/mnt/a b");
    assert_int_equal(answer.state.recoveries, 3);
    assert_true(answer.state.pause_p50_ms == 2 && answer.state.pause_max_ms == 3);
}

static void a_servers_half_is_passed_on_to_who_asked(void **state)
{
    struct rig *r = *state;
    int link[2];
    struct link_head head;
    struct control_answer answer;
    static char text[CONTROL_TEXT_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
    r->g->server = (struct server){.state = SERVER_SERVING, .pid = getpid(), .link_fd = link[0]};
    assert_int_equal(control_send(r->client, CONTROL_STATUS), 0);
    clients_read(r->g, &r->g->clients[0]);
    assert_int_equal(recv(link[1], &head, sizeof(head), 0), sizeof(head));
    assert_int_equal(head.kind, LINK_STATUS);
    clients_status(r->g, head.ask + 1, "wrong", 5);
    clients_status(r->g, head.ask, "{\"a\":1}", 7);
    assert_int_equal(control_receive(r->client, 1000, &answer, text), 0);
    assert_string_equal(text, "{\"a\":1}");
    close(link[0]);
    close(link[1]);
}

static void a_server_that_says_nothing_does_not_hold_up_the_status(void **state)
{
    struct rig *r = *state;
    int link[2];
    struct control_answer answer;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
    r->g->server = (struct server){.state = SERVER_SERVING, .pid = getpid(), .link_fd = link[0]};
    assert_int_equal(control_send(r->client, CONTROL_STATUS), 0);
    clients_read(r->g, &r->g->clients[0]);
    clients_expire(r->g, guardian_now_ns());
    assert_int_equal(control_receive(r->client, 0, &answer, NULL), -ETIMEDOUT);
    clients_expire(r->g, guardian_now_ns() + 2000000000);
    assert_int_equal(control_receive(r->client, 0, &answer, NULL), 0);
    close(link[0]);
    close(link[1]);
}

static void t_serve(struct rig *r, int link[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
    r->g->server = (struct server){.state = SERVER_SERVING, .pid = getpid(), .generation = 5, .link_fd = link[0]};
}

static void a_fault_is_ordered_from_the_server_and_its_answer_passed_on(void **state)
{
    struct rig *r = *state;
    int link[2];
    struct {
        struct link_head head;
        struct control_inject inject;
    } order;
    struct control_answer answer;
    static char text[CONTROL_TEXT_MAX];
    t_serve(r, link);
    r->g->clients[0].may_inject = true;
    assert_int_equal(control_send_inject(r->client, &(struct control_inject){.fault = CONTROL_FAULT_FLIP, .seed = 77}), 0);
    clients_read(r->g, &r->g->clients[0]);
    assert_int_equal(recv(link[1], &order, sizeof(order), 0), sizeof(order));
    assert_int_equal(order.head.kind, LINK_INJECT);
    assert_int_equal(order.inject.fault, CONTROL_FAULT_FLIP);
    assert_int_equal(order.inject.seed, 77);
    clients_injected(r->g, order.head.ask, -ENODATA, "nothing there", 13);
    assert_int_equal(control_receive(r->client, 1000, &answer, text), 0);
    assert_int_equal(answer.rc, -ENODATA);
    assert_string_equal(text, "nothing there");
    close(link[0]);
    close(link[1]);
}

static void a_fault_that_kills_the_server_at_once_is_told_as_such(void **state)
{
    struct rig *r = *state;
    int link[2];
    struct control_answer answer;
    static char text[CONTROL_TEXT_MAX];
    t_serve(r, link);
    r->g->clients[0].may_inject = true;
    assert_int_equal(control_send_inject(r->client, &(struct control_inject){.fault = CONTROL_FAULT_FLIP}), 0);
    clients_read(r->g, &r->g->clients[0]);
    clients_expire(r->g, guardian_now_ns());
    assert_int_equal(control_receive(r->client, 0, &answer, NULL), -ETIMEDOUT);
    r->g->server.generation++;
    clients_expire(r->g, guardian_now_ns());
    assert_int_equal(control_receive(r->client, 0, &answer, text), 0);
    assert_int_equal(answer.rc, -ESRCH);
    assert_non_null(strstr(text, "died"));
    close(link[0]);
    close(link[1]);
}

static void faults_are_for_root_and_whoever_mounted(void **state)
{
    struct rig *r = *state;
    int link[2];
    struct control_answer answer;
    t_serve(r, link);
    r->g->clients[0].may_inject = false;
    assert_int_equal(control_send_inject(r->client, &(struct control_inject){.fault = CONTROL_FAULT_CLEAR}), 0);
    clients_read(r->g, &r->g->clients[0]);
    assert_int_equal(control_receive(r->client, 1000, &answer, NULL), 0);
    assert_int_equal(answer.rc, -EPERM);
    assert_int_equal(recv(link[1], &answer, sizeof(answer), MSG_DONTWAIT), -1);
    close(link[0]);
    close(link[1]);
}

static void pauses_are_sorted_into_buckets(void **state)
{
    struct rig *r = *state;
    struct control_answer answer;
    const double pauses[] = {0.5, 1, 1.5, 70, 99999};
    memcpy(r->g->pauses_ms, pauses, sizeof(pauses));
    r->g->pause_count = ARRAY_LEN(pauses);
    assert_int_equal(control_send(r->client, CONTROL_STATUS), 0);
    clients_read(r->g, &r->g->clients[0]);
    assert_int_equal(control_receive(r->client, 1000, &answer, NULL), 0);
    assert_int_equal(answer.state.pause_buckets[0], 2);         // to 1 ms
    assert_int_equal(answer.state.pause_buckets[1], 1);         // to 2 ms
    assert_int_equal(answer.state.pause_buckets[8], 1);         // to 100 ms
    assert_int_equal(answer.state.pause_buckets[CONTROL_BUCKETS - 1], 1);
}

static void who_asked_just_before_the_end_is_told_of_it(void **state)
{
    struct rig *r = *state;
    struct control_answer answer;
    static char text[CONTROL_TEXT_MAX];
    int late = control_connect(r->g->socket_path);
    assert_true(late >= 0);
    assert_int_equal(control_send(late, CONTROL_WAIT), 0);
    r->g->end_rc = -EIO;
    strcpy(r->g->end_text, "why");
    clients_end(r->g);
    assert_int_equal(control_receive(late, 1000, &answer, text), 0);
    assert_int_equal(answer.rc, -EIO);
    assert_string_equal(text, "why");
    close(late);
}

static void packets_that_are_no_questions_end_the_connection(void **state)
{
    struct rig *r = *state;
    struct control_answer answer;
    for (size_t len = 1; len < 40; len++) {
        char junk[40];
        memset(junk, 0x5a, sizeof(junk));
        int fd = control_connect(r->g->socket_path);
        assert_true(fd >= 0);
        clients_accept(r->g);
        assert_int_equal(send(fd, junk, len, 0), len);
        for (size_t i = 1; i < CLIENTS_MAX; i++)
            if (r->g->clients[i].fd >= 0)
                clients_read(r->g, &r->g->clients[i]);
        assert_int_equal(control_receive(fd, 1000, &answer, NULL), -EPIPE);
        close(fd);
    }
}

static void a_second_guardian_for_a_mount_point_is_refused(void **state)
{
    struct rig *r = *state;
    struct guardian *second = xcalloc(1, sizeof(*second));
    struct err err = {0};
    second->opt.mountpoint = r->g->opt.mountpoint;
    strcpy(second->socket_path, r->g->socket_path);
    assert_int_equal(clients_listen(second, &err), -EBUSY);
    free(second);
}

// --- names --------------------------------------------------------------------------------------

static void no_two_mount_points_share_a_name(void **state)
{
    (void)state;
    char deep_a[300], deep_b[300];
    memset(deep_a, 'x', sizeof(deep_a));
    deep_a[0] = '/';
    deep_a[299] = 0;
    strcpy(deep_b, deep_a);
    deep_b[298] = 'y';
    const char *const paths[] = {"/", "/-", "/a/b", "/a-b", "/a\\x2db", "/a b", "/.a", "/..", "/a.b", deep_a, deep_b};
    static char names[ARRAY_LEN(paths)][CONTROL_PATH_MAX];
    setenv("DROVER_RUN_DIR", "/run/x", 1);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        control_path(paths[i], ".sock", names[i]);
        assert_true(strlen(names[i]) < 108);
        assert_null(strchr(names[i] + 7, '/'));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(names[i], names[j]);
    }
    assert_string_equal(names[2], "/run/x/a-b.sock");
}

// --- options ------------------------------------------------------------------------------------

static int parse(struct options *opt, const char *list, struct err *err)
{
    char *argv[] = {"drover-guardian", "-o", xstrdup(list), "/dev/null", "/tmp", NULL};
    optind = 0;
    *err = (struct err){0};
    int rc = options_parse(opt, 5, argv, err);
    free(argv[2]);
    if (rc == 0) {
        free(opt->disk);
        free(opt->mountpoint);
    }
    return rc;
}

static void options_are_understood_or_named_in_the_error(void **state)
{
    (void)state;
    struct options opt;
    struct err err;
    assert_int_equal(parse(&opt, "ro,cache=64M,noatime,nosuid,hang=3,journal=data,x-systemd.automount,defaults", &err), 0);
    assert_true(opt.read_only && opt.journal_data && opt.hang_s == 3 && opt.cache_bytes == 64u << 20);
    assert_true(opt.standby && opt.plog_bytes == 32u << 20);
    assert_int_equal(opt.atime, HANDOFF_NOATIME);
    assert_int_equal(opt.mount_flags, MS_RDONLY | MS_NOSUID | MS_NOATIME);
    assert_int_equal(parse(&opt, "plog=off", &err), 0);
    assert_int_equal(opt.plog_bytes, 0);
    assert_int_equal(parse(&opt, "standby=off,plog=2M", &err), 0);
    assert_true(!opt.standby && opt.plog_bytes == 2u << 20);
    const char *const wrong[] = {"cash=64M", "cache=64X", "cache=1M", "hang=0", "hang=-1", "journal=none", "remount,ro", "plog=1K", "plog=on", "standby=1",
                                 "policy=mirror", "workers=3", "user=", "bogus"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(parse(&opt, wrong[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "option "));
    }
}

// --- disks --------------------------------------------------------------------------------------

static void a_disk_that_a_drover_has_is_refused_to_others(void **state)
{
    (void)state;
    char path[] = "/tmp/drover-test-XXXXXX";
    int fd = mkstemp(path);
    struct disk a, b;
    struct err err = {0};
    assert_int_equal(disk_open(path, false, &a, &err), -EINVAL);        // empty
    assert_int_equal(ftruncate(fd, 10 * BLOCK_BYTES + 5), 0);
    assert_int_equal(disk_open(path, false, &a, &err), 0);
    assert_int_equal(a.block_count, 10);
    err = (struct err){0};
    assert_int_equal(disk_open(path, true, &b, &err), -EBUSY);
    assert_non_null(strstr(err.text, "another drover"));
    int under_way = dup(a.fd);      // what a request under way holds
    disk_close(&a);
    assert_int_equal(disk_open(path, true, &b, &err), -EBUSY);
    close(under_way);
    assert_int_equal(disk_open(path, true, &b, &err), 0);
    disk_close(&b);
    assert_int_equal(disk_open("/tmp", true, &b, &err), -ENOTBLK);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_server_the_status_is_the_guardians_half, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_servers_half_is_passed_on_to_who_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_says_nothing_does_not_hold_up_the_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fault_is_ordered_from_the_server_and_its_answer_passed_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fault_that_kills_the_server_at_once_is_told_as_such, set_up, tear_down),
        cmocka_unit_test_setup_teardown(faults_are_for_root_and_whoever_mounted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pauses_are_sorted_into_buckets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_asked_just_before_the_end_is_told_of_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packets_that_are_no_questions_end_the_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_guardian_for_a_mount_point_is_refused, set_up, tear_down),
        cmocka_unit_test(no_two_mount_points_share_a_name),
        cmocka_unit_test(options_are_understood_or_named_in_the_error),
        cmocka_unit_test(a_disk_that_a_drover_has_is_refused_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
