// SPDX-License-Identifier: MIT
// sandbox.c - what a server gives up before it reads the first byte of a disk.
//
// It has its descriptors and needs no more: no file can be opened, no process started, no socket
// made. A call that is not on the list fails with EPERM. The ring, which seccomp does not see,
// was restricted by the guardian (kernel-facts, section 9).
#include "server/server.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "server/sanitized.h"

static const int allowed[] = {
    // the loop and the disk
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(io_uring_enter),
    // the door, the link, the relay, the log
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(close),
    // memory
    SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk),
    // time, locks, ends
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(futex),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom), SCMP_SYS(sched_yield), SCMP_SYS(fstat), SCMP_SYS(lseek),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall),
    SCMP_SYS(tgkill), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static int become(const struct handoff *h, struct err *err)
{
    if (!h->drop_privileges)
        return 0;
    if (setgroups(0, NULL) == 0 && setresgid(h->gid, h->gid, h->gid) == 0 && setresuid(h->uid, h->uid, h->uid) == 0)
        return 0;
    if (h->must_drop)
        return err_set(err, errno, "cannot become user %u: %s", h->uid, strerror(errno));
    log_warn("event=privileges-kept uid=%u errno=%d what=\"the server goes on as the user it was started by\"", h->uid, errno);
    return 0;
}

// An empty ruleset: no path of any filesystem, should anything slip through the list above.
static void forbid_paths(void)
{
#ifdef SYS_landlock_create_ruleset
    struct landlock_ruleset_attr attr = {.handled_access_fs = (1ull << 13) - 1};    // all of its first version
    int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (fd < 0)
        return;                     // a kernel without it: seccomp is the fence that counts
    if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        log_warn("event=landlock-refused errno=%d", errno);
    close(fd);
#endif
}

static int forbid_calls(struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return err_set(err, ENOMEM, "cannot make the sandbox");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(allowed); i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc < 0 ? err_set(err, -rc, "cannot enter the sandbox: %s", strerror(-rc)) : 0;
}

// Writing the memory out would hold up the end for seconds. A limit of 1 keeps also programs away that
// the system would hand it to.
static void leave_no_core(void)
{
    struct rlimit limit = {1, 1};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &limit) < 0)
        log_warn("event=core-not-refused errno=%d", errno);
}

int sandbox_enter(const struct handoff *h, struct err *err)
{
    int rc = become(h, err);
    if (rc < 0)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set(err, errno, "cannot give up privileges: %s", strerror(errno));
    if (SANITIZED) {
        // Sanitizers open files of /proc and start a process to print what they found.
        log_warn("event=no-sandbox why=\"built with a sanitizer\"");
        return 0;
    }
    leave_no_core();
    forbid_paths();
    return forbid_calls(err);
}
