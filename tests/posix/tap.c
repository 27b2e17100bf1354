// SPDX-License-Identifier: MIT
// tap.c - see tap.h.
#include "tap.h"

#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int run_one(const struct posix_test *test, const char *dir)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(test->seconds ? test->seconds : 60);
        umask(0);
        if (chdir(dir) < 0)
            _exit(1);
        test->run();
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("# ended by signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (took too long)" : "");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int tap_run(const char *top, const struct posix_test *tests, size_t count, const char *only)
{
    int failures = 0;
    for (size_t i = 0; i < count; i++) {
        char dir[4096], command[8300];
        if (only && !strstr(tests[i].name, only))
            continue;
        snprintf(dir, sizeof(dir), "%s/t%zu", top, i);
        if (mkdir(dir, 0755) < 0)
            printf("# mkdir %s: %s\n", dir, strerror(errno));
        chmod(dir, 0777);
        int status = run_one(&tests[i], dir);
        printf("%s %zu - %s%s\n", status == 0 || status == 77 ? "ok" : "not ok", i + 1, tests[i].name, status == 77 ? " # SKIP" : "");
        failures += status != 0 && status != 77;
        snprintf(command, sizeof(command), "chattr -R -f -i -a '%s'; rm -rf '%s'", dir, dir);
        if (system(command) != 0)
            printf("# cannot remove %s\n", dir);
    }
    fflush(stdout);
    return failures;
}

int as_user(unsigned uid, unsigned gid, void (*fn)(void))
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
            _exit(99);
        fn();
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}
