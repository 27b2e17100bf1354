// SPDX-License-Identifier: MIT
// mount.c - `drover mount`, and mount.drover for mount(8) and fstab.
//
// Starts a guardian and waits for the one line that it writes when the mount is usable, or why it
// never will be.
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "cli/cli.h"

struct request {
    const char *disk, *mountpoint;
    char options[4096];
    bool foreground;
};

static bool add_options(struct request *r, const char *more)
{
    size_t len = strlen(r->options);
    int put = snprintf(r->options + len, sizeof(r->options) - len, "%s%s", len ? "," : "", more);
    return put >= 0 && (size_t)put < sizeof(r->options) - len;
}

NO_RETURN static void become_guardian(const struct request *r, const char *program, int ready_fd)
{
    char ready[32];
    snprintf(ready, sizeof(ready), "--ready-fd=%d", ready_fd);
    // Where to complain comes first: there may be something wrong with the rest.
    const char *argv[] = {"drover-guardian", r->foreground ? "-f" : ready, "-o", r->options, "--", r->disk, r->mountpoint, NULL};
    execv(program, (char *const *)argv);
    fprintf(stderr, "drover: %s: cannot be started: %s\n", program, strerror(errno));
    _exit(CLI_FAILED);
}

// Everything that is said until the other end closes.
static size_t read_all(int fd, char *out, size_t size)
{
    size_t len = 0;
    while (len < size - 1) {
        ssize_t got = read(fd, out + len, size - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    out[len] = 0;
    return len;
}

static int start_guardian(const struct request *r, const char *program)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return cli_fail("cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return cli_fail("cannot start a process: %s", strerror(errno));
    if (pid == 0) {
        setsid();                   // the guardian outlives the terminal
        fcntl(ends[1], F_SETFD, 0);
        become_guardian(r, program, ends[1]);
    }
    close(ends[1]);
    char line[1024];
    size_t len = read_all(ends[0], line, sizeof(line));
    close(ends[0]);
    if (strcmp(line, "ok\n") == 0)
        return CLI_OK;
    line[strcspn(line, "\n")] = 0;
    waitpid(pid, NULL, 0);
    return cli_fail("%s", len ? line : "the guardian died before the mount was usable (see drover log)");
}

static int mount_it(const struct request *r)
{
    AUTO_FREE char *program = cli_find_program("drover-guardian", "guardian");
    if (!program)
        return cli_fail("the program drover-guardian is not installed (meson install)");
    if (r->foreground)
        become_guardian(r, program, -1);
    return start_guardian(r, program);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct request r = {0};
    opterr = 0;
    for (int c; (c = getopt(argc, argv, "fo:")) != -1;) {
        if (c == 'f')
            r.foreground = true;
        else if (c != 'o')
            return cli_wrong_usage(command, "unknown option");
        else if (!add_options(&r, optarg))
            return cli_wrong_usage(command, "the options are too long");
    }
    if (argc - optind != 2)
        return cli_wrong_usage(command, argc - optind > 2 ? "this version mounts volumes of one disk" : "which disk, and where?");
    r.disk = argv[optind];
    r.mountpoint = argv[optind + 1];
    return mount_it(&r);
}

// mount(8): DISK DIR [-sfnv] [-N namespace] [-o options] [-t type]. Its exit codes: 1 usage, 32 failure.
int cli_mount_helper(int argc, char **argv)
{
    struct request r = {0};
    bool fake = false;
    for (int c; (c = getopt(argc, argv, "sfnvrwN:o:t:")) != -1;) {
        switch (c) {
        case 'f': fake = true; break;
        case 'r': add_options(&r, "ro"); break;
        case 'o':
            if (!add_options(&r, optarg))
                return 1;
            break;
        case '?': return 1;
        }
    }
    if (argc - optind != 2) {
        fprintf(stderr, "usage: mount -t drover DISK DIRECTORY [-o OPTIONS]\n");
        return 1;
    }
    r.disk = argv[optind];
    r.mountpoint = argv[optind + 1];
    return fake || mount_it(&r) == CLI_OK ? 0 : 32;
}

const struct cli_command cli_mount = {
    .name = "mount",
    .usage = "[-f] [-o OPTIONS] DISK MOUNTPOINT",
    .summary = "mounts a volume; returns when it is usable",
    .help = "  -f                    stays in the foreground\n"
            "  -o ro                 changes nothing on the disk\n"
            "  -o cache=SIZE         memory for the server's caches (an eighth of all, 512M at most)\n"
            "  -o journal=MODE       ordered, or data: file content goes through the journal too\n"
            "  -o user=NAME          whom the server runs as (nobody)\n"
            "  -o syncfs             type fuseblk.drover: sync and syncfs wait until all is durable\n"
            "  -o hang=SECONDS       how long without a heartbeat is a hang (10)\n"
            "  -o plog=SIZE          memory for what is told and not yet durable (32M), or off: no standby either\n"
            "  -o standby=on|off     keep a second server ready to take over (on)\n"
            "  -o spin=MICROSECONDS  how long the server stays awake for the next request (30)\n"
            "  -o noatime, nosuid, nodev, noexec, sync and the like, as for mount(8)\n",
    .run = run,
};
