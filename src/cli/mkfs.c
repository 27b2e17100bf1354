// SPDX-License-Identifier: MIT
// mkfs.c - `drover mkfs`: mke2fs with the features that drover serves, and some care beforehand.
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

// All of ext4's defaults, spelled out, so that the machine's mke2fs.conf does not matter.
#define FEATURES                                                                                                       \
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"          \
    "huge_file,dir_nlink,extra_isize,metadata_csum"

struct mkfs {
    const struct cli_command *command;
    const char *label, *disk;
    uint64_t size;
    bool force;
};

static const struct {
    const char *what;
    uint32_t off;
    const char *magic;
    uint32_t len;
} signatures[] = {
    {"an ext2, ext3 or ext4 filesystem", 1024 + 56, "\x53\xef", 2},
    {"an XFS filesystem", 0, "XFSB", 4},
    {"a btrfs filesystem", 0x10040, "_BHRfS_M", 8},
    {"an encrypted volume (LUKS)", 0, "LUKS\xba\xbe", 6},
    {"an LVM volume", 512 + 24, "LVM2 001", 8},
    {"swap space", 4086, "SWAPSPACE2", 10},
    {"a SquashFS filesystem", 0, "hsqs", 4},
    {"an F2FS filesystem", 1024, "\x10\x20\xf5\xf2", 4},
    {"a partition table or a boot sector", 510, "\x55\xaa", 2},
};

// What is on the disk already, or NULL.
static const char *existing(int fd)
{
    for (size_t i = 0; i < ARRAY_LEN(signatures); i++) {
        char bytes[16];
        if (pread(fd, bytes, signatures[i].len, signatures[i].off) == (ssize_t)signatures[i].len &&
            memcmp(bytes, signatures[i].magic, signatures[i].len) == 0)
            return signatures[i].what;
    }
    return NULL;
}

static int check_existing(const struct mkfs *m)
{
    AUTO_FD int fd = open(m->disk, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : cli_fail("%s: %s", m->disk, strerror(errno));
    const char *what = m->force ? NULL : existing(fd);
    return what ? cli_fail("%s: holds %s (--force writes over it)", m->disk, what) : 0;
}

// Makes the file, or makes it as large as asked for.
static int prepare(const struct mkfs *m)
{
    struct stat st;
    bool there = stat(m->disk, &st) == 0;
    if (!there && !m->size)
        return cli_fail("%s: %s (--size N makes a file)", m->disk, strerror(errno));
    if (there && S_ISBLK(st.st_mode))
        return m->size ? cli_fail("%s: is a block device, its size is given (leave --size out)", m->disk) : 0;
    if (there && !S_ISREG(st.st_mode))
        return cli_fail("%s: is neither a file nor a block device", m->disk);
    if (!m->size)
        return st.st_size ? 0 : cli_fail("%s: is empty (--size N says how large it shall be)", m->disk);
    AUTO_FD int fd = open(m->disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)m->size) < 0)
        return cli_fail("%s: cannot be made %llu bytes long: %s", m->disk, (unsigned long long)m->size, strerror(errno));
    return 0;
}

static int run_mke2fs(const struct mkfs *m)
{
    char *argv[24] = {
        "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", FEATURES,
        "-E", "lazy_itable_init=0,lazy_journal_init=0",
    };
    size_t n = 13;
    if (m->label) {
        argv[n++] = "-L";
        argv[n++] = (char *)m->label;
    }
    argv[n++] = (char *)m->disk;
    int status = cli_run_program(argv);
    if (status == -ENOENT)
        return cli_fail("mke2fs: not found (install the package e2fsprogs)");
    return status ? cli_fail("%s: mke2fs failed with status %d (its message is above)", m->disk, status) : CLI_OK;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct option longs[] = {
        {"label", required_argument, NULL, 'L'}, {"size", required_argument, NULL, 's'},
        {"policy", required_argument, NULL, 'p'}, {"force", no_argument, NULL, 'f'}, {0},
    };
    struct mkfs m = {.command = command};
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "L:", longs, NULL)) != -1;) {
        switch (c) {
        case 'L': m.label = optarg; break;
        case 'f': m.force = true; break;
        case 's':
            if (!cli_parse_size(optarg, &m.size) || m.size < 8u << 20)
                return cli_wrong_usage(command, "--size %s is not a size of 8M or more", optarg);
            break;
        case 'p':
            if (strcmp(optarg, "plain") != 0)
                return cli_fail("policy %s: no such policy (this version has: plain)", optarg);
            break;
        default: return cli_wrong_usage(command, "unknown option");
        }
    }
    if (m.label && strlen(m.label) > 16)
        return cli_wrong_usage(command, "a label has at most 16 bytes");
    if (argc - optind != 1)
        return cli_wrong_usage(command, argc - optind ? "this version makes volumes of one disk" : "which disk?");
    m.disk = argv[optind];
    int rc = check_existing(&m);
    if (rc == 0)
        rc = prepare(&m);
    return rc ? rc : run_mke2fs(&m);
}

const struct cli_command cli_mkfs = {
    .name = "mkfs",
    .usage = "[-L LABEL] [--size N] [--policy NAME] [--force] DISK",
    .summary = "makes a volume: an ext4 filesystem in a file or on a block device",
    .help = "  -L, --label LABEL   a name for it, 16 bytes at most\n"
            "  --size N            makes the file N bytes long (512M, 20G)\n"
            "  --policy NAME       how its blocks are read and written: plain\n"
            "  --force             writes over whatever is there\n",
    .run = run,
};
