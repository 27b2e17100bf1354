// SPDX-License-Identifier: MIT
// plog_test.c - the P-Log's ring, and its judgement of a ring that something has damaged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
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
    rig->log.head->tail = tail;         // its writer died just before the last stores
    rig->log.head->tail_check = ~tail;
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

static void two_flipped_bits_in_a_byte_of_an_entry_or_its_spill_end_the_walk_before_it(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 3; tid++)
        assert_true(append_tid(rig, tid, 100, 200));
    uint32_t slots = plog_slots(100, 200);
    uint8_t *second = (uint8_t *)(rig->log.slots + slots);
    for (size_t i = 0; i < 128 + 300; i++) {
        second[i] ^= 0x41;
        expect_damage(rig, 1);
        second[i] ^= 0x41;
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
    head->tail_check = ~head->tail;
    assert_int_equal(plog_attach(&log, rig->memory, rig->bytes, &rig->sequence), -EFSCORRUPTED);
    *head = good;
    head->head = head->tail + 1;
    head->head_check = ~head->head;
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
    rig->log.head->tail_check = ~(uint64_t)PLOG_SLOTS_MIN;
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

// --- flipped bits ---------------------------------------------------------------------------------

static void any_single_flipped_bit_of_an_entry_is_put_right(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 3; tid++)
        assert_true(append_tid(rig, tid, 10, 30));
    uint32_t slots = plog_slots(10, 30);
    uint8_t *second = (uint8_t *)(rig->log.slots + slots);
    AUTO_FREE uint8_t *good = xmalloc(slots * 128);
    memcpy(good, second, slots * 128);
    for (size_t bit = 0; bit < (128 + 40) * 8; bit++) {
        struct seen seen = {0};
        second[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(plog_walk(&rig->log, look, &seen), 0);
        assert_int_equal(seen.count, 3);
        assert_int_equal(rig->log.mended, bit + 1);
        assert_memory_equal(second, good, 128 + 40);
    }
    rig_destroy(rig);
}

static void what_trim_gives_back_is_mended_first(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    assert_true(append_tid(rig, 7, 100, 200));
    assert_true(append_tid(rig, 8, 0, 0));
    rig->log.slots[0].tid ^= 4;                     // 3: it would go too early
    plog_trim(&rig->log, 6, NULL);
    assert_int_equal(plog_used(&rig->log), plog_slots(100, 200) + 1);
    rig->log.slots[0].data_len ^= 256;              // trim would lose its way
    plog_trim(&rig->log, 7, NULL);
    assert_int_equal(plog_used(&rig->log), 1);
    rig_destroy(rig);
}

static struct seen walk_copy(struct rig *rig, const uint8_t *memory)
{
    AUTO_FREE uint8_t *copy = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    struct plog log;
    struct seen seen = {0};

    memcpy(copy, memory, rig->bytes);
    if (plog_attach(&log, copy, rig->bytes, &rig->sequence) < 0 || plog_walk(&log, look, &seen) < 0)
        seen.count = UINT64_MAX;
    return seen;
}

static void any_single_flipped_bit_of_the_head_changes_nothing_or_is_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    uint64_t refused = 0, bits = sizeof(struct plog_head) * 8;
    for (uint64_t tid = 1; tid <= 40; tid++)
        assert_true(append_tid(rig, tid, 10, 30));
    plog_trim(&rig->log, 7, NULL);
    for (uint64_t bit = 0; bit < bits; bit++) {
        rig->memory[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct seen seen = walk_copy(rig, rig->memory);
        rig->memory[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused += seen.count == UINT64_MAX;
        if (seen.count == UINT64_MAX)
            continue;
        // More at the front is what trim had given back: durable.
        assert_int_equal(seen.last_tid, 40);
        assert_true(seen.first_tid <= 8);
        assert_int_equal(seen.count, 41 - seen.first_tid);
    }
    assert_true(refused <= 8 * 20);                 // magic, version, size and their checksum
    rig_destroy(rig);
}

// --- deaths between two stores --------------------------------------------------------------------

// `change` was under way when the writer died: of the words that it changes only some were stored, the
// first ones or the last ones. check() sees each such log.
static void die_at_every_store(struct rig *rig, void (*change)(struct rig *rig), void (*check)(struct plog *log, const struct plog *before, const struct plog *after))
{
    size_t words = rig->bytes / 8;
    AUTO_FREE uint64_t *before = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    AUTO_FREE uint64_t *after = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    AUTO_FREE uint64_t *torn = xblocks(DIV_ROUND_UP(rig->bytes, BLOCK_BYTES));
    struct plog old, new, log;

    memcpy(before, rig->memory, rig->bytes);
    change(rig);
    memcpy(after, rig->memory, rig->bytes);
    assert_int_equal(plog_attach(&old, before, rig->bytes, &rig->sequence), 0);
    assert_int_equal(plog_attach(&new, after, rig->bytes, &rig->sequence), 0);
    for (size_t i = 0; i < 2 * words; i++) {
        bool backwards = i >= words;
        size_t at = i % words;
        if (before[at] == after[at])
            continue;
        memcpy(torn, backwards ? before : after, (at + 1) * 8);
        memcpy(torn + at + 1, (backwards ? after : before) + at + 1, (words - at - 1) * 8);
        assert_int_equal(plog_attach(&log, torn, rig->bytes, &rig->sequence), 0);
        check(&log, &old, &new);
    }
}

static struct seen count_of(const struct plog *log)
{
    struct plog copy = *log;
    struct seen seen = {0};
    assert_int_equal(plog_walk(&copy, look, &seen), 0);
    return seen;
}

static void shows_one_or_the_other(struct plog *log, const struct plog *before, const struct plog *after)
{
    uint64_t count = count_of(log).count;
    assert_true(count == count_of(before).count || count == count_of(after).count);
    assert_true(count == 0 || count_of(log).last_tid == count_of(before).last_tid ||
                count_of(log).last_tid == count_of(after).last_tid);
}

static void change_trim(struct rig *rig) { plog_trim(&rig->log, 5, NULL); }

static void a_death_in_trim_leaves_all_that_is_not_durable(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 9; tid++)
        assert_true(append_tid(rig, tid, 10, 30));
    die_at_every_store(rig, change_trim, shows_one_or_the_other);
    rig_destroy(rig);
}

static void an_empty_log_begins_again_at_the_beginning_and_a_death_there_is_harmless(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 9; tid++)
        assert_true(append_tid(rig, tid, 10, 30));
    plog_trim(&rig->log, 5, NULL);
    // The stores of a trim that empties it, one after the other.
    struct plog_head *head = rig->log.head;
    uint64_t tail = head->tail, values[] = {tail, ~tail, 0, ~0ull, 0, ~0ull};
    uint64_t *words[] = {&head->head, &head->head_check, &head->tail, &head->tail_check, &head->head, &head->head_check};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct seen seen = walk_copy(rig, rig->memory);
        assert_int_equal(seen.count, i < 2 ? 4 : 0);    // before the head is sure: all that trim gave back, which is durable
        *words[i] = values[i];
    }
    assert_int_equal(plog_used(&rig->log), 0);
    assert_true(append_tid(rig, 101, 0, 0));
    assert_int_equal(rig->log.slots[0].tid, 101);
    assert_int_equal(count_of(&rig->log).count, 1);
    rig_destroy(rig);
}

// --- redo ---------------------------------------------------------------------------------------

static uint64_t live_from(const struct plog *log, uint64_t committed_tid)
{
    for (uint64_t seq = 1; seq <= 20; seq++) {
        struct plog_entry entry = {.op = PLOG_CREATE, .seq = seq, .tid = seq};
        if (plog_state(log, &entry, committed_tid) == PLOG_LIVE)
            return seq;
    }
    return 21;
}

// Twenty entries, each of a transaction of its own, of which five were committed.
static struct rig *twenty(void)
{
    struct rig *rig = rig_create();
    for (uint64_t tid = 1; tid <= 20; tid++)
        assert_true(append_tid(rig, tid, 0, 0));
    assert_int_equal(plog_redo_begin(&rig->log, 5), 0);
    return rig;
}

static void a_transaction_of_the_dead_is_not_durable_because_the_successor_has_one_of_its_number(void **state)
{
    (void)state;
    struct rig *rig = twenty();
    assert_int_equal(live_from(&rig->log, 5), 6);
    assert_int_equal(live_from(&rig->log, 9), 6);       // the successor has committed four, without entries
    plog_redone(&rig->log, 6, 6);
    plog_redone(&rig->log, 7, 6);
    plog_redone(&rig->log, 8, 7);
    assert_int_equal(live_from(&rig->log, 5), 6);
    assert_int_equal(live_from(&rig->log, 6), 8);
    assert_int_equal(live_from(&rig->log, 7), 9);
    assert_int_equal(live_from(&rig->log, 19), 9);
    rig_destroy(rig);
}

static void a_second_recovery_goes_on_where_the_disk_is(void **state)
{
    (void)state;
    struct rig *rig = twenty();
    for (uint64_t seq = 6; seq <= 15; seq++)
        plog_redone(&rig->log, seq, seq / 5 + 5);       // 6-9: 6; 10-14: 7; 15: 8
    rig->log.begun = false;             // another server's handle
    assert_int_equal(plog_redo_begin(&rig->log, 7), 0);
    assert_int_equal(plog_redo_done(&rig->log), 14);
    assert_int_equal(live_from(&rig->log, 7), 15);
    assert_int_equal(plog_redo_begin(&rig->log, 7), 0);
    assert_int_equal(live_from(&rig->log, 8), 15);      // its own 8 now, which holds nothing yet
    plog_redone(&rig->log, 15, 8);
    assert_int_equal(live_from(&rig->log, 8), 16);
    rig_destroy(rig);
}

static void trim_gives_back_what_was_redone_and_marks_with_it(void **state)
{
    (void)state;
    struct rig *rig = twenty();
    uint64_t tid = 6;
    for (uint64_t seq = 6; seq <= 20; seq++, tid++) {
        if (!plog_redo_has_room(&rig->log))
            plog_trim(&rig->log, tid - 1, NULL);
        assert_true(plog_redo_has_room(&rig->log));
        plog_redone(&rig->log, seq, tid);
    }
    plog_trim(&rig->log, 15, NULL);
    assert_int_equal(plog_used(&rig->log), 5);
    assert_true(append_tid(&*rig, 21, 0, 0));           // service goes on in the same log
    plog_trim(&rig->log, 20, NULL);
    assert_int_equal(plog_used(&rig->log), 1);
    plog_trim(&rig->log, 21, NULL);
    assert_int_equal(plog_used(&rig->log), 0);
    assert_int_equal(plog_redo_done(&rig->log), 0);     // it is over
    rig_destroy(rig);
}

static void change_redone(struct rig *rig) { plog_redone(&rig->log, plog_redo_done(&rig->log) + 1, 9); }
static void change_begin(struct rig *rig) { rig->log.begun = false; assert_int_equal(plog_redo_begin(&rig->log, 9), 0); }

static void says_one_or_the_other(struct plog *log, const struct plog *before, const struct plog *after)
{
    for (uint64_t committed = 5; committed < 12; committed++) {
        uint64_t live = live_from(log, committed);
        assert_true(live == live_from(before, committed) || live == live_from(after, committed));
    }
}

static void a_death_at_any_store_of_a_redo_is_before_or_after_it(void **state)
{
    (void)state;
    struct rig *rig = twenty();
    for (uint64_t seq = 6; seq <= 12; seq++)
        die_at_every_store(rig, change_redone, says_one_or_the_other);
    die_at_every_store(rig, change_begin, says_one_or_the_other);
    rig_destroy(rig);
}

static void an_entry_that_is_durable_behind_one_that_is_not_is_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_create();
    assert_true(append_tid(rig, 5, 0, 0));
    assert_true(append_tid(rig, 4, 0, 0));
    assert_int_equal(plog_redo_begin(&rig->log, 4), -EFSCORRUPTED);
    rig_destroy(rig);
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
        cmocka_unit_test(two_flipped_bits_in_a_byte_of_an_entry_or_its_spill_end_the_walk_before_it),
        cmocka_unit_test(an_old_entry_in_a_new_place_is_out_of_order),
        cmocka_unit_test(a_head_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_random_tail_never_leads_a_walk_outside_the_ring),
        cmocka_unit_test(two_logs_share_one_sequence),
        cmocka_unit_test(any_single_flipped_bit_of_an_entry_is_put_right),
        cmocka_unit_test(what_trim_gives_back_is_mended_first),
        cmocka_unit_test(any_single_flipped_bit_of_the_head_changes_nothing_or_is_refused),
        cmocka_unit_test(a_death_in_trim_leaves_all_that_is_not_durable),
        cmocka_unit_test(an_empty_log_begins_again_at_the_beginning_and_a_death_there_is_harmless),
        cmocka_unit_test(a_transaction_of_the_dead_is_not_durable_because_the_successor_has_one_of_its_number),
        cmocka_unit_test(a_second_recovery_goes_on_where_the_disk_is),
        cmocka_unit_test(trim_gives_back_what_was_redone_and_marks_with_it),
        cmocka_unit_test(a_death_at_any_store_of_a_redo_is_before_or_after_it),
        cmocka_unit_test(an_entry_that_is_durable_behind_one_that_is_not_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
