// SPDX-License-Identifier: MIT
// fibre.c - see fibre.h.
//
// A stopped fibre on x86-64, from its saved stack pointer upwards: r15 r14 r13 r12 rbx rbp and the
// address to go on at. That is all the ABI asks a function to keep; the floating point control
// words are kept too by nobody changing them. 3 ns a switch (kernel-facts, section 7).
#include "rt/fibre.h"

#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/log.h"

#ifdef FIBRE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBRE_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(start, end) 0u
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#define GUARD_SIZE 4096u

void stack_map(struct stack *stack)
{
    size_t size = GUARD_SIZE + FIBRE_STACK_SIZE;
    // MAP_NORESERVE: a stack is mostly untouched, and thousands of them must not count as memory.
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect(map, GUARD_SIZE, PROT_NONE) < 0) {
        log_error("event=out-of-memory what=fibre-stack bytes=%zu errno=%d", size, errno);
        abort();
    }
    stack->bottom = map + GUARD_SIZE;
    stack->valgrind_id = VALGRIND_STACK_REGISTER(stack->bottom, map + size);
}

void stack_unmap(struct stack *stack)
{
    VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
#ifdef FIBRE_ASAN
    // Whoever is given these addresses next must not inherit our red zones.
    ASAN_UNPOISON_MEMORY_REGION(stack->bottom, FIBRE_STACK_SIZE);
#endif
    munmap((char *)stack->bottom - GUARD_SIZE, GUARD_SIZE + FIBRE_STACK_SIZE);
    *stack = (struct stack){0};
}

// --- what the sanitizers are told -------------------------------------------------------------

// `keep` is false when `from` never runs again: its fake stack goes with it.
static void announce_switch(struct context *from, struct context *to, bool keep)
{
    to->from = from;
#ifdef FIBRE_ASAN
    __sanitizer_start_switch_fiber(keep ? &from->asan_fake_stack : NULL, to->stack_bottom,
                                   to->stack_size);
#else
    (void)keep;
#endif
#ifdef FIBRE_TSAN
    __tsan_switch_to_fiber(to->tsan_fibre, 0);
#endif
}

static void announce_arrival(struct context *here)
{
#ifdef FIBRE_ASAN
    __sanitizer_finish_switch_fiber(here->asan_fake_stack, &here->from->stack_bottom,
                                    &here->from->stack_size);
#else
    (void)here;
#endif
}

// The first function on every new stack.
static void context_begin(struct context *context)
{
    announce_arrival(context);
    context->fn(context->arg);
    CHECK(!"a fibre ends by context_leave");
}

// --- the switch itself ------------------------------------------------------------------------

#ifdef RT_FIBRE_UCONTEXT

static void uc_begin(unsigned high, unsigned low)
{
    context_begin((struct context *)(((uintptr_t)high << 16 << 16) | low));
}

static void swap(struct context *from, struct context *to)
{
    CHECK(swapcontext(&from->uc, &to->uc) == 0);
}

static void prepare(struct context *context, const struct stack *stack)
{
    CHECK(getcontext(&context->uc) == 0);
    context->uc.uc_stack.ss_sp = stack->bottom;
    context->uc.uc_stack.ss_size = FIBRE_STACK_SIZE;
    context->uc.uc_link = NULL;
    uintptr_t self = (uintptr_t)context;
    makecontext(&context->uc, (void (*)(void))uc_begin, 2, (unsigned)(self >> 16 >> 16), (unsigned)self);
}

#else

#define NAKED __attribute__((naked, noinline, no_profile_instrument_function))

// pop and jmp, not ret: the processor predicts a ret by the calls it has seen, and here it would
// be wrong every time (three times slower).
NAKED static void swap_sp(void **save, void *load)
{
    __asm__("pushq %rbp\n\t"
            "pushq %rbx\n\t"
            "pushq %r12\n\t"
            "pushq %r13\n\t"
            "pushq %r14\n\t"
            "pushq %r15\n\t"
            "movq %rsp, (%rdi)\n\t"
            "movq %rsi, %rsp\n\t"
            "popq %r15\n\t"
            "popq %r14\n\t"
            "popq %r13\n\t"
            "popq %r12\n\t"
            "popq %rbx\n\t"
            "popq %rbp\n\t"
            "popq %rcx\n\t"
            "jmpq *%rcx");
}

// Where a new fibre starts: r12 holds context_begin and rbx its argument (prepare()). Above it
// lies a return address of 0, which ends the backtraces of debuggers.
NAKED static void sp_begin(void)
{
    __asm__("movq %rbx, %rdi\n\t"
            "callq *%r12\n\t"
            "ud2");
}

static void swap(struct context *from, struct context *to)
{
    swap_sp(&from->sp, to->sp);
}

static void prepare(struct context *context, const struct stack *stack)
{
    // sp_begin is entered with rsp at `end`, a multiple of 16, so its call is aligned as the ABI asks.
    uintptr_t *end = (uintptr_t *)((char *)stack->bottom + FIBRE_STACK_SIZE - 16);
    uintptr_t frame[] = {
        0, 0, 0,                                // r15 r14 r13
        (uintptr_t)context_begin,               // r12
        (uintptr_t)context,                     // rbx
        0,                                      // rbp: ends the chain of frames
        (uintptr_t)sp_begin,
    };
    end[0] = 0;
    context->sp = memcpy(end - ARRAY_LEN(frame), frame, sizeof(frame));
}

#endif

// --- contexts ---------------------------------------------------------------------------------

void context_init_loop(struct context *context)
{
    *context = (struct context){0};
#ifdef FIBRE_TSAN
    context->tsan_fibre = __tsan_get_current_fiber();
#endif
}

void context_init(struct context *context, const struct stack *stack, void (*fn)(void *arg), void *arg)
{
#ifdef FIBRE_ASAN
    // The last user of this stack left from the middle of its frames.
    ASAN_UNPOISON_MEMORY_REGION(stack->bottom, FIBRE_STACK_SIZE);
#endif
    context_fini(context);
    *context = (struct context){
        .fn = fn,
        .arg = arg,
        .stack_bottom = stack->bottom,
        .stack_size = FIBRE_STACK_SIZE,
    };
#ifdef FIBRE_TSAN
    context->tsan_fibre = __tsan_create_fiber(0);
#endif
    prepare(context, stack);
}

void context_fini(struct context *context)
{
#ifdef FIBRE_TSAN
    if (context->tsan_fibre)
        __tsan_destroy_fiber(context->tsan_fibre);
#endif
    context->tsan_fibre = NULL;
}

void context_switch(struct context *from, struct context *to)
{
    announce_switch(from, to, true);
    swap(from, to);
    announce_arrival(from);
}

void context_leave(struct context *from, struct context *to)
{
    announce_switch(from, to, false);
    swap(from, to);
    abort();
}
