// SPDX-License-Identifier: MIT
// plog_test.c - the P-Log's ring, and its judgement of a ring that something has damaged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "plog/plog.h"

struct rig {
    struct plog log;
    uint8_t *memory;
    size_t bytes;
    uint64_t sequence;
};

static struct rig *rig_create(void)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    rig->bytes = plog_bytes(PLOG_SLOTS_MIN);
    rig->memory = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    plog_init(&rig->log, rig->memory, rig->bytes, &rig->sequence);
    return rig;
}

static void rig_destroy(struct rig *rig)
{
    free(rig->memory);
    free(rig);
}

// Names and data are recognisable by their length alone.
static uint8_t pattern(uint64_t tid, size_t i)
{
    return (uint8_t)(tid * 31 + i * 7);
}

static bool append(struct rig *rig, const struct plog_entry *entry)
{
    uint8_t name[512], data[8192];
    struct plog_room room = {0};

    for (size_t i = 0; i < entry->name_len; i++)
        name[i] = pattern(entry->tid, i);
    for (size_t i = 0; i < entry->data_len; i++)
        data[i] = pattern(entry->tid + 1, i);
    if (!plog_reserve(&rig->log, &room, plog_slots(entry->name_len, entry->data_len)))
        return false;
    plog_append(&rig->log, &room, entry, name, data);
    assert_int_equal(room.slots, 0);
    return true;
}

static bool append_tid(struct rig *rig, uint64_t tid, uint16_t name_len, uint16_t data_len)
{
    return append(rig, &(struct plog_entry){.op = PLOG_CREATE, .tid = tid, .name_len = name_len, .data_len = data_len});
}

struct seen {
    uint64_t count, first_tid, last_tid, stop_after;
};

static int look(void *arg, const struct plog_view *view)
{
    struct seen *seen = arg;
    const struct plog_entry *entry = view->entry;

    for (size_t i = 0; i < entry->name_len; i++)
        assert_int_equal(((const uint8_t *)view->name)[i], pattern(entry->tid, i));
    for (size_t i = 0; i < entry->data_len; i++)
        assert_int_equal(((const uint8_t *)view->data)[i], pattern(entry->tid + 1, i));
    if (seen->count++ == 0)
        seen->first_tid = entry->tid;
    seen->last_tid = entry->tid;
    return seen->count == seen->stop_after ? 7 : 0;
}

static void a_walk_shows_every_entry_in_order_with_its_name_and_data(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    struct seen seen = {0};
    for (uint64_t tid = 1; tid <= 50; tid++)
        assert_true(append_tid(rig, tid, (uint16_t)(tid * 5), (uint16_t)(tid * 100)));
    assert_int_equal(plog_walk(&rig->log, look, &seen), 0);
    assert_int_equal(seen.count, 50);
    assert_int_equal(seen.first_tid, 1);
    assert_int_equal(seen.last_tid, 50);
    rig_destroy(rig);
}

static void a_walk_stops_with_what_its_visitor_returns(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    struct seen seen = {.stop_after = 2};
    for (uint64_t tid = 1; tid <= 5; tid++)
        assert_true(append_tid(rig, tid, 3, 0));
    assert_int_equal(plog_walk(&rig->log, look, &seen), 7);
    assert_int_equal(seen.count, 2);
    rig_destroy(rig);
}

static void trim_gives_back_committed_entries_and_keeps_newer_ones(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    struct seen seen = {0};
    for (uint64_t tid = 1; tid <= 10; tid++)
        assert_true(append_tid(rig, tid, 200, 0));
    plog_trim(&rig->log, 4, NULL);
    assert_int_equal(plog_used(&rig->log), 6 * 3);
    assert_int_equal(plog_walk(&rig->log, look, &seen), 0);
    assert_int_equal(seen.first_tid, 5);
    assert_int_equal(rig->log.head->committed_tid, 4);
    rig_destroy(rig);
}

static bool settled_below(void *arg, const struct plog_entry *entry)
{
    return entry->len < *(uint64_t *)arg;
}

static void an_entry_whose_data_is_not_settled_holds_back_those_behind_it(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    uint64_t bound = 0;
    struct plog_settle settle = {.settled = settled_below, .arg = &bound};
    assert_true(append_tid(rig, 1, 0, 0));
    assert_true(append(rig, &(struct plog_entry){.op = PLOG_WRITE, .tid = 1, .bits = PLOG_DATA, .len = 100}));
    assert_true(append_tid(rig, 1, 0, 0));
    plog_trim(&rig->log, 9, &settle);
    assert_int_equal(plog_used(&rig->log), 2);
    plog_trim(&rig->log, 9, NULL);
    assert_int_equal(plog_used(&rig->log), 2);
    bound = 101;
    plog_trim(&rig->log, 9, &settle);
    assert_int_equal(plog_used(&rig->log), 0);
    rig_destroy(rig);
}

static void a_full_log_promises_nothing_until_it_is_trimmed(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    uint64_t tid = 0;
    while (append_tid(rig, tid + 1, 100, 0))
        tid++;
    assert_int_equal(tid, PLOG_SLOTS_MIN / 2);
    plog_trim(&rig->log, 1, NULL);
    assert_true(append_tid(rig, tid + 1, 100, 0));
    assert_false(append_tid(rig, tid + 2, 100, 0));
    rig_destroy(rig);
}

static void promised_room_cannot_be_taken_by_others_until_it_is_given_back(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    struct plog_room mine = {0}, theirs = {0};
    assert_true(plog_reserve(&rig->log, &mine, PLOG_SLOTS_MIN - 1));
    assert_false(plog_reserve(&rig->log, &theirs, 2));
    assert_true(plog_reserve(&rig->log, &theirs, 1));
    plog_unreserve(&rig->log, &mine);
    plog_unreserve(&rig->log, &mine);
    assert_true(plog_reserve(&rig->log, &theirs, PLOG_SLOTS_MIN - 1));
    rig_destroy(rig);
}

static void entries_that_run_over_the_end_of_the_ring_come_back_whole(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    uint64_t tid = 0;
    for (int round = 0; round < 4000; round++) {
        tid++;
        if (!append_tid(rig, tid, (uint16_t)(tid % 256), (uint16_t)(tid * 37 % 5000))) {
            plog_trim(&rig->log, tid - 10, NULL);
            tid--;
        }
        if (round % 200 == 0) {
            struct seen seen = {0};
            assert_int_equal(plog_walk(&rig->log, look, &seen), 0);
            assert_int_equal(seen.last_tid, tid);
        }
    }
    rig_destroy(rig);
}

static void a_successor_that_maps_the_memory_elsewhere_reads_the_same_log(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 20; tid++)
        assert_true(append_tid(rig, tid, 77, 300));
    uint8_t *elsewhere = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    memcpy(elsewhere, rig->memory, rig->bytes);
    memset(rig->memory, 0xaa, rig->bytes);

    struct plog log;
    struct seen seen = {0};
    assert_int_equal(plog_attach(&log, elsewhere, rig->bytes, &rig->sequence), 0);
    assert_int_equal(plog_walk(&log, look, &seen), 0);
    assert_int_equal(seen.count, 20);
    free(elsewhere);
    rig_destroy(rig);
}

static void an_entry_that_was_never_finished_is_not_there(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    struct seen seen = {0};
    assert_true(append_tid(rig, 1, 10, 10));
    uint64_t tail = rig->log.head->tail;
    assert_true(append_tid(rig, 2, 10, 10));
    rig->log.head->tail = tail;         // its writer died just before the last store
    assert_int_equal(plog_walk(&rig->log, look, &seen), 0);
    assert_int_equal(seen.count, 1);
    rig_destroy(rig);
}

// What a walk over a damaged ring returns, and that it visits none but the entries before the damage.
static void expect_damage(struct rig *rig, uint64_t visited)
{
    struct seen seen = {0};
    assert_int_equal(plog_walk(&rig->log, look, &seen), -EFSCORRUPTED);
    assert_int_equal(seen.count, visited);
}

static void any_flipped_byte_of_an_entry_or_its_spill_ends_the_walk_before_it(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 3; tid++)
        assert_true(append_tid(rig, tid, 100, 200));
    uint32_t slots = plog_slots(100, 200);
    uint8_t *second = (uint8_t *)(rig->log.slots + slots);
    for (size_t i = 0; i < 128 + 300; i++) {
        second[i] ^= 0x40;
        expect_damage(rig, 1);
        second[i] ^= 0x40;
    }
    struct seen seen = {0};
    assert_int_equal(plog_walk(&rig->log, look, &seen), 0);
    assert_int_equal(seen.count, 3);
    rig_destroy(rig);
}

static void an_old_entry_in_a_new_place_is_out_of_order(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 3; tid++)
        assert_true(append_tid(rig, tid, 0, 0));
    rig->log.slots[2] = rig->log.slots[0];      // its checksum is right
    expect_damage(rig, 2);
    rig_destroy(rig);
}

static void a_head_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    struct plog_head *head = rig->log.head, good;
    struct plog log;
    assert_true(append_tid(rig, 1, 0, 0));
    good = *head;

    head->magic++;
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes, &rig->sequence), -EFSCORRUPTED);
    *head = good;
    head->slot_count *= 1000;
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes, &rig->sequence), -EFSCORRUPTED);
    *head = good;
    head->tail = head->head + head->slot_count + 1;
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes, &rig->sequence), -EFSCORRUPTED);
    *head = good;
    head->head = head->tail + 1;
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes, &rig->sequence), -EFSCORRUPTED);
    *head = good;
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes / 2, &rig->sequence), -EFSCORRUPTED);
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes, &rig->sequence), 0);
    rig_destroy(rig);
}

static void a_random_tail_never_leads_a_walk_outside_the_ring(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    memset(rig->log.slots, 0xff, rig->bytes - sizeof *rig->log.slots);
    rig->log.head->tail = PLOG_SLOTS_MIN;
    expect_damage(rig, 0);
    rig_destroy(rig);
}

static void two_logs_share_one_sequence(void **state)
{
    (void)state;
    struct rig *a = rig_create(), *b = rig_create();
    b->log.sequence = &a->sequence;
    assert_true(append_tid(a, 1, 0, 0));
    assert_true(append_tid(b, 1, 0, 0));
    assert_true(append_tid(a, 1, 0, 0));
    assert_int_equal(a->log.slots[0].seq, 1);
    assert_int_equal(b->log.slots[0].seq, 2);
    assert_int_equal(a->log.slots[1].seq, 3);
    rig_destroy(a);
    rig_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_shows_every_entry_in_order_with_its_name_and_data),
        cmocka_unit_test(a_walk_stops_with_what_its_visitor_returns),
        cmocka_unit_test(trim_gives_back_committed_entries_and_keeps_newer_ones),
        cmocka_unit_test(an_entry_whose_data_is_not_settled_holds_back_those_behind_it),
        cmocka_unit_test(a_full_log_promises_nothing_until_it_is_trimmed),
        cmocka_unit_test(promised_room_cannot_be_taken_by_others_until_it_is_given_back),
        cmocka_unit_test(entries_that_run_over_the_end_of_the_ring_come_back_whole),
        cmocka_unit_test(a_successor_that_maps_the_memory_elsewhere_reads_the_same_log),
        cmocka_unit_test(an_entry_that_was_never_finished_is_not_there),
        cmocka_unit_test(any_flipped_byte_of_an_entry_or_its_spill_ends_the_walk_before_it),
        cmocka_unit_test(an_old_entry_in_a_new_place_is_out_of_order),
        cmocka_unit_test(a_head_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_random_tail_never_leads_a_walk_outside_the_ring),
        cmocka_unit_test(two_logs_share_one_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
