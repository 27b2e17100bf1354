// SPDX-License-Identifier: MIT
// crash.c - see crash.h.
//
// The order of the report is the order of trust: what lies in this program's static memory and in the
// legacy comes first; the back-trace walks stacks, the fibres are a list in the heap, and either may be what
// was damaged. Signal handlers have no argument, hence the process-wide state.
#include "server/crash.h"

#include <execinfo.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "base/check.h"
#include "guardian/legacy.h"
#include "server/crash_text.h"
#include "server/sanitized.h"
#include "server/symbols.h"

#if SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES (64u << 10)
#define GUARD_BYTES 4096u
#define THREAD_GUARD_BYTES (1u << 20)       // the kernel's own gap below a stack that grows
#define FRAMES_MAX 64
#define FIBRES_MAX 40u

static const int caught[] = {
    SIGABRT,
#if !SANITIZED
    SIGSEGV, SIGBUS, SIGILL, SIGFPE,
#endif
};

static struct {
    struct crash_config config;
    const char *thread_stack_bottom;
    struct rt_fibre_view fibres[FIBRES_MAX];
    void *frames[FRAMES_MAX];
    struct crash_text text;
    char line[CRASH_LINE_MAX];
} crash;

// --- what it was ------------------------------------------------------------------------------------------

static const char *signal_name(int signal)
{
    switch (signal) {
    case 0: return "none";
    case SIGABRT: return "SIGABRT";
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGILL: return "SIGILL";
    case SIGFPE: return "SIGFPE";
    default: return "?";
    }
}

static bool has_address(const siginfo_t *info)
{
    return info && info->si_code > 0 && info->si_signo != SIGABRT;
}

static bool came_from_outside(const siginfo_t *info)
{
    return info && info->si_code <= 0 && info->si_pid != getpid();
}

static bool just_below(const char *address, const char *bottom, size_t guard)
{
    return address < bottom && (size_t)(bottom - address) <= guard;
}

// Whose stack is full, or NULL.
static const char *full_stack(const siginfo_t *info)
{
    const char *address = has_address(info) ? info->si_addr : NULL;
    if (!address || info->si_signo != SIGSEGV)
        return NULL;
    if (just_below(address, crash.thread_stack_bottom + GUARD_BYTES, THREAD_GUARD_BYTES))
        return "the thread";
    // The running fibre is the first.
    if (crash.config.rt && rt_view_fibres(crash.config.rt, crash.fibres, 1) && crash.fibres[0].running &&
        just_below(address, crash.fibres[0].stack_bottom, GUARD_BYTES))
        return crash.fibres[0].name;
    return NULL;
}

static const char *what_happened(const siginfo_t *info, const char *stack)
{
    switch (check_story()->kind) {
    case CHECK_FAILED: return "failed check";
    case CHECK_DAMAGE: return "memory was damaged";
    case CHECK_NO_MEMORY: return "out of memory";
    case CHECK_PASSED: break;
    }
    if (!info)
        return "reported by the sanitizer";
    if (came_from_outside(info))
        return "sent by another process";
    if (stack)
        return "stack overflow";
    switch (info->si_signo) {
    case SIGSEGV: return "bad memory access";
    case SIGBUS: return "memory that cannot be had";
    case SIGILL: return "illegal instruction";
    case SIGFPE: return "bad arithmetic";
    default: return "abort (the C library may have said why, above)";
    }
}

static uintptr_t program_counter(const ucontext_t *context)
{
#ifdef __x86_64__
    return context ? (uintptr_t)context->uc_mcontext.gregs[REG_RIP] : 0;
#elif defined(__aarch64__)
    return context ? (uintptr_t)context->uc_mcontext.pc : 0;
#else
    return 0;
#endif
}

// --- the report -------------------------------------------------------------------------------------------

static void begin_line(const char *name)
{
    crash_put(&crash.text, "    ");
    crash_put(&crash.text, name);
    for (size_t len = strlen(name); len < 12; len++)
        crash_put(&crash.text, " ");
}

static void end_line(void)
{
    crash_put(&crash.text, "\n");
}

static void put_line(const char *name, const char *value)
{
    if (!*value)
        return;
    begin_line(name);
    crash_put(&crash.text, value);
    end_line();
}

static void put_head(const siginfo_t *info, const char *stack, uint64_t request)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    crash_put_time(&crash.text, &now);
    crash_put(&crash.text, " error server[");
    crash_put_number(&crash.text, (uint64_t)getpid());
    crash_put(&crash.text, "] event=crash signal=");
    crash_put(&crash.text, signal_name(info ? info->si_signo : 0));
    crash_put(&crash.text, " generation=");
    crash_put_number(&crash.text, crash.config.generation);
    crash_put(&crash.text, " request=");
    crash_put_number(&crash.text, request);
    crash_put(&crash.text, " what=\"");
    crash_put(&crash.text, what_happened(info, stack));
    crash_put(&crash.text, "\"\n");
}

static void put_cause(const siginfo_t *info, const char *stack)
{
    put_line(check_story()->kind == CHECK_FAILED ? "condition" : "why", check_story()->text);
    if (came_from_outside(info)) {
        begin_line("sender");
        crash_put(&crash.text, "process ");
        crash_put_number(&crash.text, (uint64_t)info->si_pid);
        end_line();
    }
    if (!has_address(info))
        return;
    begin_line("address");
    crash_put_hex(&crash.text, (uintptr_t)info->si_addr);
    crash_put(&crash.text, " code ");
    crash_put_number(&crash.text, (uint64_t)info->si_code);
    if (stack) {
        crash_put(&crash.text, ", below the stack of ");
        crash_put(&crash.text, stack);
    }
    end_line();
}

static void put_request(uint64_t request)
{
    crash.line[0] = 0;
    if (request && crash.config.describe)
        crash.config.describe(crash.config.arg, request, crash.line);
    put_line("request", request == 0 ? "none: the server worked for itself" : crash.line);
    crash.line[0] = 0;
    if (crash.config.describe_worker)
        crash.config.describe_worker(crash.config.arg, crash.line);
    put_line("worker", crash.line);
    crash_text_flush(&crash.text, crash.config.log_fd);
}

static void put_frame(unsigned number, uintptr_t address, bool is_return_address)
{
    // A return address may lie behind the end of a function that never returns.
    struct symbol symbol = symbols_find(address - is_return_address);
    begin_line("trace");
    crash_put_number(&crash.text, number);
    crash_put(&crash.text, number < 10 ? "  " : " ");
    if (symbol.name) {
        crash_put(&crash.text, symbol.name);
        crash_put(&crash.text, "+");
        crash_put_hex(&crash.text, symbol.offset + is_return_address);
        crash_put(&crash.text, " ");
    }
    crash_put(&crash.text, symbol.module ? "(" : "");
    crash_put(&crash.text, symbol.module ? symbol.module : "");
    crash_put(&crash.text, symbol.module ? "+" : "");
    crash_put_hex(&crash.text, symbol.module ? symbol.module_offset + is_return_address : address);
    crash_put(&crash.text, symbol.module ? ")" : "");
    end_line();
}

#if !SANITIZED
// A call to nowhere: who called is on top of the stack.
static void put_caller(const ucontext_t *context)
{
#ifdef __x86_64__
    const uintptr_t *top = (const uintptr_t *)context->uc_mcontext.gregs[REG_RSP];
    if ((uintptr_t)top % sizeof(*top) == 0 && symbols_find(*top).module)
        put_frame(1, *top, true);
#endif
}
#endif

static void put_trace(const ucontext_t *context)
{
#if SANITIZED
    (void)context;              // the sanitizer's own is above
    (void)put_frame;
    (void)program_counter;
#else
    uintptr_t pc = program_counter(context);
    put_frame(0, pc, false);
    crash_text_flush(&crash.text, crash.config.log_fd);
    // The first frames are the handler's; its caller is where it happened.
    int count = backtrace(crash.frames, FRAMES_MAX), first = 0;
    while (first < count && (uintptr_t)crash.frames[first] != pc)
        first++;
    if (first == count || !symbols_find(pc).module)
        put_caller(context);
    else
        for (int i = first + 1; i < count; i++) {
            put_frame((unsigned)(i - first), (uintptr_t)crash.frames[i], true);
            crash_text_flush(&crash.text, crash.config.log_fd);
        }
    crash_text_flush(&crash.text, crash.config.log_fd);
#endif
}

static void put_fibres(void)
{
    uint32_t count = crash.config.rt ? rt_view_fibres(crash.config.rt, crash.fibres, FIBRES_MAX) : 0;
    for (uint32_t i = 0; i < MIN(count, FIBRES_MAX); i++) {
        const struct rt_fibre_view *fibre = &crash.fibres[i];
        begin_line("fibre");
        crash_put(&crash.text, fibre->name);
        crash_put(&crash.text, fibre->running ? ", runs" : ", waits");
        if (fibre->tag) {
            crash_put(&crash.text, ", for request ");
            crash_put_number(&crash.text, fibre->tag);
        }
        crash_put(&crash.text, ", has waited ");
        crash_put_number(&crash.text, fibre->waits);
        crash_put(&crash.text, " times");
        end_line();
        crash_text_flush(&crash.text, crash.config.log_fd);
    }
    if (count > FIBRES_MAX) {
        begin_line("fibre");
        crash_put(&crash.text, "and ");
        crash_put_number(&crash.text, count - FIBRES_MAX);
        crash_put(&crash.text, " more");
        end_line();
    }
    put_line("end", "of the report");
    crash_text_flush(&crash.text, crash.config.log_fd);
}

// --- the end ----------------------------------------------------------------------------------------------

static void let_signals_kill(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (size_t i = 0; i < ARRAY_LEN(caught); i++)
        sigaction(caught[i], &action, NULL);
}

// A standby is not: what the legacy says is about somebody else, who is well.
static bool is_owner(void)
{
    const struct legacy_owner *owner = &crash.config.legacy->owner;
    return owner->generation == crash.config.generation ||
           (owner->word & FUTEX_TID_MASK) == (uint32_t)syscall(SYS_gettid);
}

// First of all: the successor decides by it.
static void count_death(const siginfo_t *info, uint64_t request)
{
    struct legacy *legacy = crash.config.legacy;
    if (!is_owner())
        return;
    legacy->death = DEATH_CRASHED;
    legacy->crashes++;
    if (check_story()->kind == CHECK_DAMAGE)
        legacy->damage++;
    if (request && crash.config.blame && !came_from_outside(info))
        crash.config.blame(crash.config.arg, request);
}

static void report(const siginfo_t *info, const ucontext_t *context)
{
    uint64_t request = is_owner() ? crash.config.legacy->running : 0;
    count_death(info, request);
    const char *stack = full_stack(info);
    put_head(info, stack, request);
    put_cause(info, stack);
    crash_text_flush(&crash.text, crash.config.log_fd);
    put_request(request);
    put_trace(context);
    put_fibres();
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    let_signals_kill();
    report(info, context);
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
    _exit(128 + signal);            // not reached, unless the signal is blocked
}

#if SANITIZED
static void on_sanitizer_death(void)
{
    let_signals_kill();             // it may abort, which would be told twice
    report(NULL, NULL);
}
#endif

// --- preparation --------------------------------------------------------------------------------------------

static void find_thread_stack(void)
{
    pthread_attr_t attr;
    void *bottom;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return;
    if (pthread_attr_getstack(&attr, &bottom, &size) == 0)
        crash.thread_stack_bottom = bottom;
    pthread_attr_destroy(&attr);
}

static void make_signal_stack(void)
{
#if !SANITIZED
    char *map = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(map != MAP_FAILED && mprotect(map, GUARD_BYTES, PROT_NONE) == 0);
    CHECK(sigaltstack(&(stack_t){.ss_sp = map + GUARD_BYTES, .ss_size = STACK_BYTES}, NULL) == 0);
#endif
}

void crash_catch(const struct crash_config *config)
{
    crash.config = *config;
    symbols_open();
    find_thread_stack();
    backtrace(crash.frames, FRAMES_MAX);        // loads the library that it needs
    make_signal_stack();
#if SANITIZED
    __sanitizer_set_death_callback(on_sanitizer_death);
#endif
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    for (size_t i = 0; i < ARRAY_LEN(caught); i++)
        CHECK(sigaction(caught[i], &action, NULL) == 0);
}
