// SPDX-License-Identifier: MIT
// fsck.c - `drover fsck`: e2fsck, on a disk that nobody serves at the time.
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/file.h>

#include "cli/cli.h"

#define FSCK_OPERATIONAL_ERROR 8    // e2fsck's own word for "could not even look"
#define FSCK_USAGE_ERROR 16

static int refuse_if_served(const char *disk)
{
    AUTO_FD int fd = open(disk, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cli_fail("%s: %s", disk, strerror(errno));
        return FSCK_OPERATIONAL_ERROR;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    cli_fail("%s: is mounted by drover (drover umount first)", disk);
    return FSCK_OPERATIONAL_ERROR;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    char mode[] = "-y";
    bool chosen = false;
    opterr = 0;
    for (int c; (c = getopt(argc, argv, "nyp")) != -1;) {
        if (c == '?') {
            cli_wrong_usage(command, "unknown option");
            return FSCK_USAGE_ERROR;
        }
        mode[1] = (char)c;
        chosen = true;
    }
    if (argc - optind != 1) {
        cli_wrong_usage(command, argc - optind ? "this version checks volumes of one disk" : "which disk?");
        return FSCK_USAGE_ERROR;
    }
    char *disk = argv[optind];
    int status = refuse_if_served(disk);
    if (status)
        return status;

    char *fsck_argv[8] = {"e2fsck", "-f"};
    size_t n = 2;
    if (chosen)
        fsck_argv[n++] = mode;
    if (isatty(STDOUT_FILENO)) {
        fsck_argv[n++] = "-C";
        fsck_argv[n++] = "0";
    }
    fsck_argv[n++] = disk;
    status = cli_run_program(fsck_argv);
    if (status >= 0)
        return status;
    cli_fail("e2fsck: cannot be run: %s (install the package e2fsprogs)", strerror(-status));
    return FSCK_OPERATIONAL_ERROR;
}

const struct cli_command cli_fsck = {
    .name = "fsck",
    .usage = "[-n|-y|-p] DISK",
    .summary = "checks a volume that is not mounted, and repairs it (with e2fsck)",
    .help = "  -n   changes nothing\n"
            "  -y   repairs everything without asking\n"
            "  -p   repairs what is safe to repair without asking\n"
            "Exit status is e2fsck's: 0 nothing wrong, 1 repaired, 4 errors left, 8 could not be checked.\n",
    .run = run,
};
