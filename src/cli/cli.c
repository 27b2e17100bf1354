// SPDX-License-Identifier: MIT
// cli.c - see cli.h.
#include "cli/cli.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#ifndef DROVER_LIBEXECDIR
#define DROVER_LIBEXECDIR "/usr/libexec/drover"
#endif

#define ANSWER_MS 5000

int cli_fail(const char *fmt, ...)
{
    char text[2 * CONTROL_PATH_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "drover: %s\n", text);
    return CLI_FAILED;
}

int cli_wrong_usage(const struct cli_command *command, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "drover: %s: %s (usage: drover %s %s)\n", command->name, text, command->name, command->usage);
    return CLI_USAGE;
}

void cli_print_help(const struct cli_command *command)
{
    printf("usage: drover %s %s\n\n%s\n", command->name, command->usage, command->summary);
    if (command->help)
        printf("\n%s", command->help);
}

bool cli_asked_for_help(const struct cli_command *command, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            cli_print_help(command);
            return true;
        }
    }
    return false;
}

int cli_run_program(char *const argv[])
{
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    if (WIFSIGNALED(status))
        return 128 + WTERMSIG(status);
    return WEXITSTATUS(status) == 127 ? -ENOENT : WEXITSTATUS(status);
}

char *cli_find_program(const char *name, const char *build_folder)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[len > 0 ? len : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    char *paths[3] = {0}, *found = NULL;
    if (asprintf(&paths[0], "%s/../%s/%s", self, build_folder, name) < 0 ||
        asprintf(&paths[1], "%s/../libexec/drover/%s", self, name) < 0 ||
        asprintf(&paths[2], DROVER_LIBEXECDIR "/%s", name) < 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!found && access(paths[i], X_OK) == 0)
            found = paths[i];
        else
            free(paths[i]);
    }
    return found;
}

bool cli_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "kmgt";
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || errno || *text == '-')
        return false;
    const char *unit = *end ? strchr(units, *end | 0x20) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (unit)
        end++;
    if (shift && strcmp(end, "iB") == 0)
        end += 2;
    if (*end || value > UINT64_MAX >> shift)
        return false;
    *out = value << shift;
    return true;
}

char *cli_mountpoint(const char *path)
{
    char *real = realpath(path, NULL);
    if (!real)
        cli_fail("%s: %s", path, strerror(errno));
    return real;
}

// The guardian's answer, whatever it says; what goes wrong before it is reported.
static int exchange(const char *mountpoint, enum control_op op, const struct control_inject *inject,
                    struct control_answer *answer, char *text)
{
    char path[CONTROL_PATH_MAX];
    control_path(mountpoint, ".sock", path);
    AUTO_FD int fd = control_connect(path);
    if (fd < 0) {
        if (fd == -ENOENT || fd == -ECONNREFUSED)
            cli_fail("%s: is not a drover mount (drover status lists them)", mountpoint);
        else
            cli_fail("%s: cannot reach its guardian: %s", mountpoint, strerror(-fd));
        return fd;
    }
    int rc = inject ? control_send_inject(fd, inject) : control_send(fd, op);
    if (rc == 0)
        rc = control_receive(fd, ANSWER_MS, answer, text);
    if (rc < 0)
        cli_fail("%s: its guardian does not answer: %s", mountpoint, strerror(-rc));
    else if (answer->rc == -EPERM)
        cli_fail("%s: not allowed (run as root)", mountpoint);
    return rc;
}

int cli_ask(const char *mountpoint, enum control_op op, struct control_answer *answer, char *text)
{
    int rc = exchange(mountpoint, op, NULL, answer, text);
    if (rc < 0 || answer->rc == 0 || answer->rc == -EPERM)
        return rc < 0 ? rc : answer->rc;
    cli_fail("%s: its guardian refuses: %s", mountpoint, strerror(-answer->rc));
    return answer->rc;
}

int cli_ask_fault(const char *mountpoint, const struct control_inject *inject, char *text)
{
    struct control_answer answer;
    int rc = exchange(mountpoint, CONTROL_INJECT, inject, &answer, text);
    if (rc < 0 || answer.rc == 0 || answer.rc == -EPERM)
        return rc < 0 ? rc : answer.rc;
    if (text[0])
        cli_fail("%s: %s", mountpoint, text);
    else if (answer.rc == -ESRCH)
        cli_fail("%s: there is no server at this moment (try again)", mountpoint);
    else
        cli_fail("%s: its server does not answer: %s", mountpoint, strerror(-answer.rc));
    return answer.rc;
}
