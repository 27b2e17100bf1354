// SPDX-License-Identifier: MIT
// deathwatch.c - see deathwatch.h.
#include "guardian/deathwatch.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

// The kernel finds the word at `entry` + head.futex_offset, wherever that is: so entry and head can
// lie in private memory, and the legacy holds nothing but the word.
struct watched {
    struct robust_list_head head;
    struct robust_list entry;
};

int deathwatch_register(uint32_t *word)
{
    struct watched *watched = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (watched == MAP_FAILED)
        return -errno;
    *watched = (struct watched){
        .head = {
            .list.next = &watched->entry,
            .futex_offset = (long)((uintptr_t)word - (uintptr_t)&watched->entry),
        },
        .entry.next = &watched->head.list,
    };
    if (mprotect(watched, BLOCK_BYTES, PROT_READ) < 0 ||
        syscall(SYS_set_robust_list, &watched->head, sizeof(watched->head)) < 0) {
        int error = errno;
        munmap(watched, BLOCK_BYTES);
        return -error;
    }
    return 0;                       // the page stays until the thread's end
}

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static bool swap(uint32_t *word, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static bool is_free(uint32_t value)
{
    return (value & FUTEX_OWNER_DIED) || !(value & FUTEX_TID_MASK);
}

int deathwatch_claim(uint32_t *word)
{
    uint32_t own = (uint32_t)syscall(SYS_gettid) & FUTEX_TID_MASK;
    for (uint32_t seen; is_free(seen = load(word));)
        if (swap(word, seen, own | FUTEX_WAITERS))
            return 0;
    return -EBUSY;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int deathwatch_wait(uint32_t *word, uint64_t timeout_ns)
{
    uint64_t start = now_ns();
    for (uint32_t seen; !is_free(seen = load(word));) {
        if (!(seen & FUTEX_WAITERS) && !swap(word, seen, seen | FUTEX_WAITERS))
            continue;
        uint64_t passed = now_ns() - start;
        if (passed >= timeout_ns)
            return -ETIMEDOUT;
        uint64_t left = timeout_ns - passed;
        struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
        // EAGAIN, EINTR and wake-ups without reason: the word tells.
        syscall(SYS_futex, word, FUTEX_WAIT, seen | FUTEX_WAITERS, timeout_ns == DEATHWATCH_FOREVER ? NULL : &timeout, NULL, 0);
    }
    return 0;
}

bool deathwatch_bury(uint32_t *word, int dead, const int *alive, size_t alive_count)
{
    for (;;) {
        uint32_t seen = load(word);
        int owner = (int)(seen & FUTEX_TID_MASK);
        bool needed = !is_free(seen);
        for (size_t i = 0; needed && i < alive_count; i++)
            needed = owner == dead || owner != alive[i];
        if (needed && !swap(word, seen, FUTEX_OWNER_DIED | FUTEX_WAITERS))
            continue;
        // All, and also when the kernel has seen to it: whom it woke may have died on the way.
        if (needed || is_free(seen))
            syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        return needed;
    }
}
