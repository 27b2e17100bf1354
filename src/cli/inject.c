// SPDX-License-Identifier: MIT
// inject.c - `drover inject`: faults on purpose.
//
// Killing and stopping a server is the guardian's part, which works whatever the server does. The other
// faults the server brings about itself, and says what it did.
#include <getopt.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cli/cli.h"

// An operation's name is that of its FUSE message. What only tells the server something cannot be answered
// with an error, and is not among them.
static const struct {
    const char *name;
    uint32_t opcode;
} operations[] = {
    {"lookup", FUSE_LOOKUP}, {"getattr", FUSE_GETATTR}, {"setattr", FUSE_SETATTR}, {"readlink", FUSE_READLINK},
    {"symlink", FUSE_SYMLINK}, {"mknod", FUSE_MKNOD}, {"mkdir", FUSE_MKDIR}, {"unlink", FUSE_UNLINK}, {"rmdir", FUSE_RMDIR},
    {"rename", FUSE_RENAME}, {"link", FUSE_LINK}, {"open", FUSE_OPEN}, {"read", FUSE_READ}, {"write", FUSE_WRITE},
    {"statfs", FUSE_STATFS}, {"fsync", FUSE_FSYNC}, {"setxattr", FUSE_SETXATTR}, {"getxattr", FUSE_GETXATTR},
    {"listxattr", FUSE_LISTXATTR}, {"removexattr", FUSE_REMOVEXATTR}, {"opendir", FUSE_OPENDIR}, {"readdir", FUSE_READDIR},
    {"fsyncdir", FUSE_FSYNCDIR}, {"create", FUSE_CREATE}, {"ioctl", FUSE_IOCTL}, {"fallocate", FUSE_FALLOCATE},
    {"lseek", FUSE_LSEEK}, {"copy_file_range", FUSE_COPY_FILE_RANGE}, {"syncfs", FUSE_SYNCFS}, {"tmpfile", FUSE_TMPFILE},
};

static bool find_name(const char *const *names, const char *name, uint32_t *out)
{
    for (uint32_t i = 0; names[i]; i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        *out = i;
        return true;
    }
    return false;
}

static bool parse_number(const char *text, uint64_t limit, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 0);
    return end != text && !*end && !errno && *text != '-' && *out <= limit;
}

static int ask_guardian(const char *mountpoint, enum control_op op)
{
    struct control_answer answer;
    return cli_ask(mountpoint, op, &answer, NULL) == 0 ? CLI_OK : CLI_FAILED;
}

static int ask_server(const char *mountpoint, const struct control_inject *inject)
{
    static char text[CONTROL_TEXT_MAX];
    if (cli_ask_fault(mountpoint, inject, text) < 0)
        return CLI_FAILED;
    printf("%s\n", text);
    return CLI_OK;
}

// --- one function for each fault: argv[0] is its name ---------------------------------------------------

static int crash(const struct cli_command *command, const char *mountpoint, int argc, char **argv)
{
    static const struct option longs[] = {{"after", required_argument, NULL, 'n'}, {"at", required_argument, NULL, 'a'}, {0}};
    struct control_inject inject = {.fault = CONTROL_FAULT_CRASH, .point = CONTROL_POINT_REPLY};
    bool now = argc == 1;
    uint64_t after = 0;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'n' && !parse_number(optarg, UINT32_MAX, &after))
            return cli_wrong_usage(command, "%s: not a number", optarg);
        if (c == 'a' && !find_name(control_point_names, optarg, &inject.point))
            return cli_wrong_usage(command, "%s: no such point", optarg);
        if (c == '?')
            return cli_wrong_usage(command, "unknown option");
    }
    if (optind < argc)
        return cli_wrong_usage(command, "%s: what is that?", argv[optind]);
    inject.after = (uint32_t)after;
    return now ? ask_guardian(mountpoint, CONTROL_CRASH) : ask_server(mountpoint, &inject);
}

static int hang(const struct cli_command *command, const char *mountpoint, int argc, char **argv)
{
    return argc == 1 ? ask_guardian(mountpoint, CONTROL_HANG) : cli_wrong_usage(command, "%s: what is that?", argv[1]);
}

static int flip(const struct cli_command *command, const char *mountpoint, int argc, char **argv)
{
    static const struct option longs[] = {
        {"region", required_argument, NULL, 'r'}, {"count", required_argument, NULL, 'c'}, {"seed", required_argument, NULL, 's'}, {0}};
    struct control_inject inject = {.fault = CONTROL_FAULT_FLIP, .region = CONTROL_REGIONS};
    uint64_t count = 1;
    if (getrandom(&inject.seed, sizeof(inject.seed), 0) != (ssize_t)sizeof(inject.seed))
        inject.seed = 1;
    inject.seed >>= 32;             // short enough to be typed again
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'r' && !find_name(control_region_names, optarg, &inject.region))
            return cli_wrong_usage(command, "%s: no such region", optarg);
        if (c == 'c' && (!parse_number(optarg, 100000, &count) || count == 0))
            return cli_wrong_usage(command, "%s: not a number from 1 to 100000", optarg);
        if (c == 's' && !parse_number(optarg, UINT64_MAX, &inject.seed))
            return cli_wrong_usage(command, "%s: not a number", optarg);
        if (c == '?')
            return cli_wrong_usage(command, "unknown option");
    }
    if (optind < argc || inject.region == CONTROL_REGIONS)
        return cli_wrong_usage(command, "flip: --region says where");
    inject.count = (uint32_t)count;
    return ask_server(mountpoint, &inject);
}

static int poison(const struct cli_command *command, const char *mountpoint, int argc, char **argv)
{
    struct control_inject inject = {.fault = CONTROL_FAULT_POISON};
    struct stat root, st;
    if (argc != 3)
        return cli_wrong_usage(command, "poison: which operation, on which file?");
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (strcmp(operations[i].name, argv[1]) == 0)
            inject.operation = operations[i].opcode;
    if (inject.operation == 0)
        return cli_wrong_usage(command, "%s: no such operation", argv[1]);
    if (stat(mountpoint, &root) < 0)
        return cli_fail("%s: %s", mountpoint, strerror(errno));
    if (lstat(argv[2], &st) < 0)
        return cli_fail("%s: %s", argv[2], strerror(errno));
    if (st.st_dev != root.st_dev)
        return cli_fail("%s: is not on %s", argv[2], mountpoint);
    inject.ino = st.st_ino;
    return ask_server(mountpoint, &inject);
}

static int clear(const struct cli_command *command, const char *mountpoint, int argc, char **argv)
{
    struct control_inject inject = {.fault = CONTROL_FAULT_CLEAR};
    return argc == 1 ? ask_server(mountpoint, &inject) : cli_wrong_usage(command, "%s: what is that?", argv[1]);
}

static int disk(const struct cli_command *command, const char *mountpoint, int argc, char **argv)
{
    (void)command, (void)argc, (void)argv;
    return cli_fail("%s: faults of disks cannot be injected yet (put the volume on a faulty device, see dmsetup(8))", mountpoint);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct cli_command *command, const char *mountpoint, int argc, char **argv);
    } faults[] = {{"crash", crash}, {"hang", hang}, {"flip", flip}, {"poison", poison}, {"clear", clear}, {"disk", disk}};
    if (argc < 3)
        return cli_wrong_usage(command, "which mount point, and what?");
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        if (strcmp(argv[2], faults[i].name) != 0)
            continue;
        AUTO_FREE char *mountpoint = cli_mountpoint(argv[1]);
        opterr = 0;
        return mountpoint ? faults[i].run(command, mountpoint, argc - 2, argv + 2) : CLI_FAILED;
    }
    return cli_wrong_usage(command, "%s: no such fault", argv[2]);
}

const struct cli_command cli_inject = {
    .name = "inject",
    .usage = "MOUNTPOINT crash|hang|flip|poison|clear ...",
    .summary = "faults on purpose: kills or stops the server, flips bits of its memory; the guardian brings it back",
    .help = "  crash                        kills it now\n"
            "  crash [--at POINT] [--after N]\n"
            "                               kills it at the next pass of a point that N others precede: plan, apply,\n"
            "                               reply (when --at is missing), commit, checkpoint, recovery\n"
            "  hang                         stops it; it is killed when that was noticed (hang=SECONDS)\n"
            "  flip --region R [--count N] [--seed S]\n"
            "                               flips bits: heap, metadata, plog, data, stack, descriptors\n"
            "  poison OPERATION PATH        this operation on this file (of unlink, create and the like: in this\n"
            "                               directory) is deadly: lookup, getattr, setattr, create, write, ...\n"
            "  clear                        forgets what has been armed or poisoned\n",
    .run = run,
};
