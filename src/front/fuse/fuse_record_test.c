// SPDX-License-Identifier: MIT
// fuse_record_test.c - records alone: taken, left behind, claimed, blamed, described, damaged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "front/fuse/fuse_decode.h"
#include "front/fuse/fuse_record.h"

#define COUNT FUSE_RECORDS_MIN
#define AGAIN FUSE_UNIQUE_RESEND

static struct fuse_in_header head_of(uint64_t unique)
{
    return (struct fuse_in_header){.unique = unique, .opcode = FUSE_MKDIR, .nodeid = 1, .pid = 9};
}

static struct fuse_record *take(struct fuse_records *records, uint64_t unique)
{
    struct fuse_in_header head = head_of(unique);
    return fuse_records_take(records, &head);
}

static struct fuse_record *memory_new(void)
{
    return xcalloc(COUNT, sizeof(struct fuse_record));
}

static void a_resent_request_finds_the_record_that_it_left(void **state)
{
    (void)state;
    struct fuse_record *memory = memory_new();
    struct fuse_records dead, next;
    fuse_records_init(&dead, memory, COUNT, FUSE_RECORDS_NEW);
    struct fuse_record *left = take(&dead, 42);
    left->answer = (struct ops_answer){.seq = 5, .ino = 12, .generation = 3};
    fuse_records_free(&dead, take(&dead, 44));
    fuse_records_fini(&dead);

    fuse_records_init(&next, memory, COUNT, FUSE_RECORDS_LEFT);
    assert_int_equal(next.left_count, 1);
    assert_ptr_equal(take(&next, 42 | AGAIN), left);
    assert_int_equal(left->answer.seq, 5);
    assert_int_equal(next.left_count, 0);
    assert_int_equal(take(&next, 44 | AGAIN)->answer.seq, 0);
    fuse_records_fini(&next);
    free(memory);
}

static void what_was_applied_is_not_believed_after_distrust(void **state)
{
    (void)state;
    struct fuse_record *memory = memory_new();
    struct fuse_records dead, next;
    fuse_records_init(&dead, memory, COUNT, FUSE_RECORDS_NEW);
    take(&dead, 42)->answer.seq = 5;
    (void)!fuse_records_blame(memory, COUNT, 42);
    fuse_records_fini(&dead);
    fuse_records_init(&next, memory, COUNT, FUSE_RECORDS_LEFT_DISTRUSTED);
    struct fuse_record *record = take(&next, 42 | AGAIN);
    assert_int_equal(record->answer.seq, 0);
    assert_int_equal(record->deaths, 1);
    fuse_records_fini(&next);
    free(memory);
}

static void nobody_claims_what_was_dropped_or_is_unlike(void **state)
{
    (void)state;
    struct fuse_record *memory = memory_new();
    struct fuse_records dead, next;
    fuse_records_init(&dead, memory, COUNT, FUSE_RECORDS_NEW);
    for (uint64_t unique = 2; unique <= 6; unique += 2)
        take(&dead, unique)->answer.seq = unique;
    fuse_records_fini(&dead);
    fuse_records_init(&next, memory, COUNT, FUSE_RECORDS_LEFT);
    struct fuse_in_header other = head_of(2 | AGAIN);
    other.opcode = FUSE_RMDIR;
    assert_int_equal(fuse_records_take(&next, &other)->answer.seq, 0);
    assert_int_equal(take(&next, 4 | AGAIN)->answer.seq, 4);
    fuse_records_drop_left(&next);
    assert_int_equal(next.used, 2);
    assert_int_equal(take(&next, 6 | AGAIN)->answer.seq, 0);
    fuse_records_fini(&next);
    free(memory);
}

// Requests whose numbers want the same place lie behind each other; all are found, none that is absent.
static void the_log_completes_records_far_from_home_too(void **state)
{
    (void)state;
    struct fuse_record *memory = memory_new();
    struct fuse_records records;
    fuse_records_init(&records, memory, COUNT, FUSE_RECORDS_NEW);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_non_null(take(&records, 2 + i * 2 * (i % 3 ? 1 : COUNT)));
    assert_null(take(&records, 1000001));
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t unique = 2 + i * 2 * (i % 3 ? 1 : COUNT);
        fuse_records_applied(memory, COUNT, unique, &(struct ops_answer){.seq = 1, .result = 1});
        fuse_records_applied(memory, COUNT, unique, &(struct ops_answer){.seq = 7 + i, .result = 8, .ino = 9, .generation = 10});
    }
    fuse_records_applied(memory, COUNT, 1000001, &(struct ops_answer){.seq = 1});
    fuse_records_applied(memory, COUNT, 0, &(struct ops_answer){.seq = 1});
    uint64_t sum = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(memory[i].answer.result, 8);
        sum += memory[i].answer.seq;
    }
    assert_int_equal(sum, COUNT * 7 + COUNT * (COUNT - 1) / 2);
    fuse_records_fini(&records);
    free(memory);
}

static void the_blamed_request_can_be_described(void **state)
{
    (void)state;
    char text[300], little[10];
    struct fuse_record *memory = memory_new();
    struct fuse_records records;
    struct fuse_msg msg = {.name = {{"a\nb\"", 4}, {"other", 5}}};
    fuse_records_init(&records, memory, COUNT, FUSE_RECORDS_NEW);
    fuse_record_note(take(&records, 42), &msg);
    assert_int_equal(fuse_records_blame(memory, COUNT, 41), 0);
    assert_int_equal(fuse_records_blame(memory, COUNT, 42), 1);
    assert_int_equal(fuse_records_blame(memory, COUNT, 42), 2);
    size_t len = fuse_records_describe(memory, COUNT, 42, text, sizeof(text));
    assert_string_equal(text, "op=MKDIR nodeid=1 name=\"a?b?\" other=\"other\" pid=9 unique=42 deaths=2 applied=no");
    assert_int_equal(len, strlen(text));
    assert_int_equal(fuse_records_describe(memory, COUNT, 42, little, sizeof(little)), 9);
    assert_string_equal(little, "op=MKDIR ");
    fuse_records_describe(memory, COUNT, 18446744073709551615ull, text, sizeof(text));
    assert_string_equal(text, "unique=18446744073709551615");
    fuse_records_describe(NULL, 0, 0, text, sizeof(text));
    assert_string_equal(text, "none");
    fuse_records_fini(&records);
    free(memory);
}

// Whatever a dying server wrote over them: no record is believed whose identity does not add up, and nothing
// leads out of the memory.
static void damaged_records_do_no_harm(void **state)
{
    (void)state;
    struct fuse_record *memory = memory_new();
    uint64_t x = 88172645463325252ull;
    char text[300];
    for (int round = 0; round < 200; round++) {
        struct fuse_records dead, next;
        memset(memory, 0, COUNT * sizeof(*memory));
        fuse_records_init(&dead, memory, COUNT, FUSE_RECORDS_NEW);
        for (uint64_t unique = 2; unique < 100; unique += 2)
            assert_non_null(take(&dead, unique));
        fuse_records_fini(&dead);
        for (int flip = 0; flip < 2000; flip++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            ((uint8_t *)memory)[x % (COUNT * sizeof(*memory))] ^= (uint8_t)(1u << (x >> 60 & 7));
        }
        (void)!fuse_records_blame(memory, COUNT, 50);
        fuse_records_describe(memory, COUNT, memory[3].unique, text, sizeof(text));
        for (uint64_t unique = 2; unique < 100; unique += 2)
            fuse_records_applied(memory, COUNT, unique, &(struct ops_answer){.seq = 1});
        fuse_records_init(&next, memory, COUNT, FUSE_RECORDS_LEFT);
        for (uint64_t unique = 2; unique < 100; unique += 2)
            assert_non_null(take(&next, unique | AGAIN));
        fuse_records_drop_left(&next);
        assert_int_equal(next.used, 49);
        fuse_records_fini(&next);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resent_request_finds_the_record_that_it_left),
        cmocka_unit_test(what_was_applied_is_not_believed_after_distrust),
        cmocka_unit_test(nobody_claims_what_was_dropped_or_is_unlike),
        cmocka_unit_test(the_log_completes_records_far_from_home_too),
        cmocka_unit_test(the_blamed_request_can_be_described),
        cmocka_unit_test(damaged_records_do_no_harm),
    };
    log_set_level(LOG_ERROR_LEVEL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
