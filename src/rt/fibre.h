// SPDX-License-Identifier: MIT
// fibre.h - internal to rt: stacks, and the switch from one to another.
//
// A context is a place where execution stopped. The loop has one, every fibre has one, and a
// switch always goes between the loop and a fibre, never from fibre to fibre. Sanitizers keep a
// picture of the stack they are on, so each switch is announced to them.
#pragma once

#include "base/types.h"

#if defined(__has_feature)
#define FIBRE_HAS_FEATURE_(x) __has_feature(x)
#else
#define FIBRE_HAS_FEATURE_(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || FIBRE_HAS_FEATURE_(address_sanitizer)
#define FIBRE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) || FIBRE_HAS_FEATURE_(thread_sanitizer)
#define FIBRE_TSAN 1
#endif

#if !defined(__x86_64__) && !defined(RT_FIBRE_UCONTEXT)
#define RT_FIBRE_UCONTEXT       // a test defines it too, so that the fallback is not only hoped to work
#endif
#ifdef RT_FIBRE_UCONTEXT
#include <ucontext.h>
#endif

// What a fibre may use. Instrumented code spills far more.
#ifdef FIBRE_ASAN
#define FIBRE_STACK_SIZE (256u << 10)
#else
#define FIBRE_STACK_SIZE (64u << 10)
#endif

struct stack {
    void *bottom;               // lowest usable address; the page below it is the guard
    unsigned valgrind_id;
};

struct context {
#ifdef RT_FIBRE_UCONTEXT
    ucontext_t uc;
#else
    void *sp;                   // six registers and the address to go on at lie above it
#endif
    void (*fn)(void *arg);
    void *arg;
    struct context *from;       // who switched here last
    const void *stack_bottom;   // for the address sanitizer; of the loop: learnt at the first switch
    size_t stack_size;
    void *asan_fake_stack;
    void *tsan_fibre;
};

// Aborts when the system gives no memory: admission is decided above, by rt_fibre_count().
void stack_map(struct stack *stack);
void stack_unmap(struct stack *stack);

// The context of the thread's own stack.
void context_init_loop(struct context *context);
// fn(arg) on `stack`, from its start, at the next switch to `context`. fn must not return but end
// with context_leave(). `context` is zeroed or was initialised before: call it again to reuse the
// stack, whatever was left on it.
void context_init(struct context *context, const struct stack *stack, void (*fn)(void *arg), void *arg);
void context_fini(struct context *context);
// Stops here, goes on at `to`, and returns when somebody switches back.
void context_switch(struct context *from, struct context *to);
// As context_switch, for the last time: nothing ever switches back to `from`.
NO_RETURN void context_leave(struct context *from, struct context *to);
