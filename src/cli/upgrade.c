// SPDX-License-Identifier: MIT
// upgrade.c - `drover upgrade`: the running mount is handed over to the program that is installed now.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define UPGRADE_MS 60000

static int ask(const char *mountpoint)
{
    char path[CONTROL_PATH_MAX];
    static char text[CONTROL_TEXT_MAX];
    struct control_answer answer;
    control_path(mountpoint, ".sock", path);
    AUTO_FD int fd = control_connect(path);
    if (fd < 0)
        return cli_fail("%s: is not a drover mount (drover status lists them)", mountpoint);
    int rc = control_send(fd, CONTROL_UPGRADE);
    if (rc == 0)
        rc = control_receive(fd, UPGRADE_MS, &answer, text);
    if (rc < 0)
        return cli_fail("%s: its guardian does not answer: %s", mountpoint, strerror(-rc));
    if (answer.rc == -EPERM)
        return cli_fail("%s: not allowed (run as root)", mountpoint);
    if (answer.rc < 0)
        return cli_fail("%s: not upgraded: %s", mountpoint, *text ? text : strerror(-answer.rc));
    printf("%s: upgraded %s\n", mountpoint, text);
    return CLI_OK;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-')
        return cli_wrong_usage(command, "which mount point?");
    AUTO_FREE char *mountpoint = cli_mountpoint(argv[1]);
    return mountpoint ? ask(mountpoint) : CLI_FAILED;
}

const struct cli_command cli_upgrade = {
    .name = "upgrade",
    .usage = "MOUNTPOINT",
    .summary = "hands a mount over to the installed version without unmounting",
    .help = "The new server is started beside the old one; when it does not understand the memory of the\n"
            "running mount, it says so, and the old one goes on.\n",
    .run = run,
};
