// SPDX-License-Identifier: MIT
// fuse_decode_test.c - messages that are what they should be, and all others. Run it under ASan too:
// every message ends where its memory ends.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "front/fuse/fuse_decode.h"

// A message in memory of exactly its size.
struct built {
    uint8_t *bytes;
    size_t len;
};

static struct built build(uint32_t opcode, const void *body, size_t len)
{
    struct built b = {.len = sizeof(struct fuse_in_header) + len};
    b.bytes = xmalloc(b.len);
    struct fuse_in_header head = {.len = (uint32_t)b.len, .opcode = opcode, .unique = 7, .nodeid = 1};
    memcpy(b.bytes, &head, sizeof(head));
    if (len)
        memcpy(b.bytes + sizeof(head), body, len);
    return b;
}

static int decode_once(uint32_t opcode, const void *body, size_t len)
{
    struct built b = build(opcode, body, len);
    struct fuse_msg msg;
    int rc = fuse_decode(b.bytes, b.len, true, &msg);
    free(b.bytes);
    return rc;
}

static void a_lookup_gives_its_name(void **state)
{
    (void)state;
    struct built b = build(FUSE_LOOKUP, "file", 5);
    struct fuse_msg msg;
    assert_int_equal(fuse_decode(b.bytes, b.len, true, &msg), 0);
    assert_int_equal(msg.name[0].len, 4);
    assert_memory_equal(msg.name[0].bytes, "file", 5);
    assert_int_equal(msg.head.unique, 7);
    free(b.bytes);
}

static void a_name_without_end_is_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_once(FUSE_LOOKUP, "file", 4), -EINVAL);
    assert_int_equal(decode_once(FUSE_LOOKUP, "", 0), -EINVAL);
    assert_int_equal(decode_once(FUSE_RENAME, "12345678one\0two", 15), -EINVAL);
}

static void names_that_cannot_be_in_a_directory_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_once(FUSE_LOOKUP, "a/b", 4), -EINVAL);
    assert_int_equal(decode_once(FUSE_LOOKUP, "", 1), -EINVAL);
    assert_int_equal(decode_once(FUSE_UNLINK, "/", 2), -EINVAL);
    assert_int_equal(decode_once(FUSE_SYMLINK, "link\0../target/of it", 21), 0);
    assert_int_equal(decode_once(FUSE_SYMLINK, "link\0", 6), -EINVAL);
}

static void both_names_of_a_rename_are_found(void **state)
{
    (void)state;
    struct {
        struct fuse_rename2_in in;
        char names[8];
    } body = {.in.newdir = 12, .names = "one\0two"};
    struct built b = build(FUSE_RENAME2, &body, sizeof(body.in) + 8);
    struct fuse_msg msg;
    assert_int_equal(fuse_decode(b.bytes, b.len, true, &msg), 0);
    assert_string_equal(msg.name[0].bytes, "one");
    assert_string_equal(msg.name[1].bytes, "two");
    assert_int_equal(((const struct fuse_rename2_in *)msg.arg)->newdir, 12);
    free(b.bytes);
}

static void bytes_behind_the_end_are_refused_where_nothing_may_follow(void **state)
{
    (void)state;
    assert_int_equal(decode_once(FUSE_LOOKUP, "file\0more", 9), -EINVAL);
    struct fuse_getattr_in in[2] = {0};
    assert_int_equal(decode_once(FUSE_GETATTR, in, sizeof(in[0])), 0);
    assert_int_equal(decode_once(FUSE_GETATTR, in, sizeof(in)), -EINVAL);
}

static void a_message_whose_length_lies_is_refused(void **state)
{
    (void)state;
    struct built b = build(FUSE_LOOKUP, "file", 5);
    struct fuse_msg msg;
    for (uint32_t lie = 0; lie < 100; lie++) {
        memcpy(b.bytes, &lie, sizeof(lie));
        assert_int_equal(fuse_decode(b.bytes, b.len, true, &msg), lie == b.len ? 0 : -EINVAL);
    }
    free(b.bytes);
}

static void extensions_are_cut_off_and_cannot_be_longer_than_the_message(void **state)
{
    (void)state;
    struct built b = build(FUSE_LOOKUP, "file\0\0\0\0\0\0\0\0", 13);
    struct fuse_in_header head;
    struct fuse_msg msg;
    for (uint16_t words = 0; words < 20; words++) {
        memcpy(&head, b.bytes, sizeof(head));
        head.total_extlen = words;
        memcpy(b.bytes, &head, sizeof(head));
        assert_int_equal(fuse_decode(b.bytes, b.len, true, &msg), words == 1 ? 0 : -EINVAL);
    }
    free(b.bytes);
}

static void an_old_kernels_setxattr_is_shorter(void **state)
{
    (void)state;
    struct built b = build(FUSE_SETXATTR, "\3\0\0\0\0\0\0\0user.a\0abc", 18);
    struct fuse_msg msg;
    assert_int_equal(fuse_decode(b.bytes, b.len, false, &msg), 0);
    assert_string_equal(msg.name[0].bytes, "user.a");
    assert_int_equal(msg.tail_len, 3);
    assert_memory_equal(msg.tail, "abc", 3);
    free(b.bytes);
}

static void unknown_opcodes_are_told_apart_from_broken_messages(void **state)
{
    (void)state;
    const uint32_t unknown[] = {0, 7, 19, FUSE_ACCESS, FUSE_FLUSH, FUSE_BMAP, FUSE_POLL, 62, 63, 64, 4096, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        assert_int_equal(decode_once(unknown[i], "12345678", 8), -ENOSYS);
}

static void half_a_header_has_nobody_to_answer(void **state)
{
    (void)state;
    struct fuse_msg msg;
    for (size_t len = 0; len < sizeof(struct fuse_in_header); len++) {
        uint8_t *bytes = xmalloc(len + 1);
        memset(bytes, 0xff, len + 1);
        assert_int_equal(fuse_decode(bytes, len, true, &msg), -EBADMSG);
        free(bytes);
    }
}

// Whatever the bytes are, decoding stays inside them and what it finds lies inside them.
static void no_message_leads_outside_itself(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252ull;
    for (int round = 0; round < 20000; round++) {
        uint8_t body[96];
        for (size_t i = 0; i < sizeof(body); i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            body[i] = x & 3 ? (uint8_t)(x >> 32) : 0;
        }
        struct built b = build((uint32_t)(x >> 20) % FUSE_OPCODES, body, (x >> 40) % (sizeof(body) + 1));
        struct fuse_msg msg;
        if (fuse_decode(b.bytes, b.len, x & 1, &msg) == 0) {
            const uint8_t *end = b.bytes + b.len;
            assert_true((const uint8_t *)msg.tail + msg.tail_len <= end);
            for (int i = 0; i < 2; i++)
                if (msg.name[i].bytes)
                    assert_true((const uint8_t *)msg.name[i].bytes + msg.name[i].len < end);
        }
        free(b.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lookup_gives_its_name),
        cmocka_unit_test(a_name_without_end_is_refused),
        cmocka_unit_test(names_that_cannot_be_in_a_directory_are_refused),
        cmocka_unit_test(both_names_of_a_rename_are_found),
        cmocka_unit_test(bytes_behind_the_end_are_refused_where_nothing_may_follow),
        cmocka_unit_test(a_message_whose_length_lies_is_refused),
        cmocka_unit_test(extensions_are_cut_off_and_cannot_be_longer_than_the_message),
        cmocka_unit_test(an_old_kernels_setxattr_is_shorter),
        cmocka_unit_test(unknown_opcodes_are_told_apart_from_broken_messages),
        cmocka_unit_test(half_a_header_has_nobody_to_answer),
        cmocka_unit_test(no_message_leads_outside_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
