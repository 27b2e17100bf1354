// SPDX-License-Identifier: MIT
// log.c - `drover log`: what happened at a mount point, now and before.
#include <fcntl.h>
#include <string.h>

#include "cli/cli.h"

static int print_file(const char *path)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    char bytes[65536];
    for (ssize_t got; (got = read(fd, bytes, sizeof(bytes))) != 0;) {
        if (got < 0)
            return -errno;
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(STDOUT_FILENO, bytes + done, (size_t)(got - done));
            if (put < 0)
                return -errno;
            done += put;
        }
    }
    return 0;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    if (argc != 2)
        return cli_wrong_usage(command, "which mount point?");
    AUTO_FREE char *mountpoint = cli_mountpoint(argv[1]);
    if (!mountpoint)
        return CLI_FAILED;
    char path[CONTROL_PATH_MAX];
    control_path(mountpoint, ".log", path);
    int rc = print_file(path);
    if (rc == -ENOENT)
        return cli_fail("%s: has no log (nothing was mounted there since the machine started)", mountpoint);
    return rc < 0 ? cli_fail("%s: cannot be read: %s", path, strerror(-rc)) : CLI_OK;
}

const struct cli_command cli_log = {
    .name = "log",
    .usage = "MOUNTPOINT",
    .summary = "prints what happened: mounts, recoveries, faults",
    .run = run,
};
