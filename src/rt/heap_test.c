// SPDX-License-Identifier: MIT
// heap_test.c - the min-heap against a sorted expectation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rt/heap.h"
#include "rt/prng.h"

enum { N = 500 };

static void nodes_leave_by_key_and_then_by_arrival(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 1);
    for (int round = 0; round < 50; round++) {
        struct heap heap = {0};
        struct heap_node nodes[N] = {0};
        for (int i = 0; i < N; i++)
            heap_insert(&heap, &nodes[i], prng_below(&prng, 40));
        for (int i = 0; i < N; i += 3)
            heap_remove(&heap, &nodes[i]);
        struct heap_node last = {0};
        uint32_t left = heap.count;
        for (struct heap_node *node; (node = heap_min(&heap)); left--) {
            assert_true(last.key < node->key || (last.key == node->key && last.seq <= node->seq));
            assert_int_not_equal((node - nodes) % 3, 0);
            last = *node;
            heap_remove(&heap, node);
        }
        assert_int_equal(left, 0);
        heap_fini(&heap);
    }
}

static void removing_a_node_that_is_in_no_heap_is_harmless(void **state)
{
    (void)state;
    struct heap heap = {0};
    struct heap_node a = {0}, b = {0};
    heap_insert(&heap, &a, 1);
    heap_remove(&heap, &b);
    heap_remove(&heap, &a);
    heap_remove(&heap, &a);
    assert_null(heap_min(&heap));
    heap_fini(&heap);
}

static void a_seed_always_gives_the_same_numbers(void **state)
{
    (void)state;
    struct prng a, b, c;
    prng_seed(&a, 7);
    prng_seed(&b, 7);
    prng_seed(&c, 8);
    int differ = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t x = prng_next(&a);
        assert_true(x == prng_next(&b));
        differ += x != prng_next(&c);
        assert_true(prng_below(&a, 10) < 10);
        (void)prng_next(&b);
    }
    assert_true(differ > 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_leave_by_key_and_then_by_arrival),
        cmocka_unit_test(removing_a_node_that_is_in_no_heap_is_harmless),
        cmocka_unit_test(a_seed_always_gives_the_same_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
