// SPDX-License-Identifier: MIT
// umount.c - `drover umount`, and umount.drover for umount(8): returns when the disk is free.
//
// umount(2) returns when the kernel has let go; the server then still writes. So the command asks the
// guardian first to be told of the end, and waits for it.
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#undef BLOCK_BYTES                   // the header's own; drover has another

#include "cli/cli.h"

#define NOTE_MS 2000                // after so long, a person is told what is waited for

static int explain(const char *mountpoint, int error)
{
    switch (error) {
    case EBUSY: return cli_fail("%s: is in use (fuser -vm %s tells by whom)", mountpoint, mountpoint);
    case EPERM: return cli_fail("%s: not allowed (run as root)", mountpoint);
    case EINVAL: return cli_fail("%s: is not mounted", mountpoint);
    default: return cli_fail("%s: cannot be unmounted: %s", mountpoint, strerror(error));
    }
}

// The guardian's word on how it ended.
static int wait_for_end(const char *mountpoint, int fd)
{
    struct control_answer answer;
    static char text[CONTROL_TEXT_MAX];
    int rc = control_receive(fd, NOTE_MS, &answer, text);
    if (rc == -ETIMEDOUT) {
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "drover: %s: writing back what was changed ...\n", mountpoint);
        rc = control_receive(fd, -1, &answer, text);
    }
    if (rc < 0)
        return cli_fail("%s: unmounted, but its guardian died before the volume was closed (the next mount recovers it)", mountpoint);
    return answer.rc == 0 ? CLI_OK : cli_fail("%s: unmounted, but %s", mountpoint, text);
}

static int unmount(const char *path, int flags)
{
    AUTO_FREE char *mountpoint = cli_mountpoint(path);
    if (!mountpoint)
        return CLI_FAILED;
    char socket_path[CONTROL_PATH_MAX];
    control_path(mountpoint, ".sock", socket_path);
    AUTO_FD int fd = control_connect(socket_path);
    if (fd >= 0 && control_send(fd, CONTROL_WAIT) < 0)
        return cli_fail("%s: its guardian does not listen", mountpoint);
    if (umount2(mountpoint, flags | UMOUNT_NOFOLLOW) < 0)
        return explain(mountpoint, errno);
    // Lazily: the end may be far away. Without a guardian: nobody to wait for.
    return flags & MNT_DETACH || fd < 0 ? CLI_OK : wait_for_end(mountpoint, fd);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    int flags = 0;
    opterr = 0;
    for (int c; (c = getopt(argc, argv, "lf")) != -1;) {
        if (c == '?')
            return cli_wrong_usage(command, "unknown option");
        flags |= c == 'l' ? MNT_DETACH : MNT_FORCE;
    }
    return argc - optind == 1 ? unmount(argv[optind], flags) : cli_wrong_usage(command, "which mount point?");
}

// umount(8): MOUNTPOINT [-flnrv] [-N namespace] [-t type]. Exit codes as mount(8).
int cli_umount_helper(int argc, char **argv)
{
    int flags = 0;
    for (int c; (c = getopt(argc, argv, "flnrvN:t:")) != -1;) {
        switch (c) {
        case 'f': flags |= MNT_FORCE; break;
        case 'l': flags |= MNT_DETACH; break;
        case '?': return 1;
        }
    }
    if (argc - optind != 1)
        return 1;
    return unmount(argv[optind], flags) == CLI_OK ? 0 : 32;
}

const struct cli_command cli_umount = {
    .name = "umount",
    .usage = "[-l] [-f] MOUNTPOINT",
    .summary = "unmounts a volume; returns when the disk is free and the volume clean",
    .help = "  -l   takes it out of sight now, ends it when its last user goes; does not wait\n"
            "  -f   cuts the connection to programs off first\n",
    .run = run,
};
