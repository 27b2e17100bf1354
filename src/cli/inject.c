// SPDX-License-Identifier: MIT
// inject.c - `drover inject`: faults on purpose.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct {
        const char *name;
        enum control_op op;
    } faults[] = {{"crash", CONTROL_CRASH}, {"hang", CONTROL_HANG}};
    if (argc != 3)
        return cli_wrong_usage(command, "which mount point, and what?");
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        if (strcmp(argv[2], faults[i].name) != 0)
            continue;
        AUTO_FREE char *mountpoint = cli_mountpoint(argv[1]);
        struct control_answer answer;
        return mountpoint && cli_ask(mountpoint, faults[i].op, &answer, NULL) == 0 ? CLI_OK : CLI_FAILED;
    }
    return cli_wrong_usage(command, "%s: no such fault", argv[2]);
}

const struct cli_command cli_inject = {
    .name = "inject",
    .usage = "MOUNTPOINT crash|hang",
    .summary = "kills the server, or makes it stop answering; the guardian brings it back",
    .run = run,
};
