// SPDX-License-Identifier: MIT
// options.c - see options.h.
#include "guardian/options.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "guardian/handoff.h"
#include "guardian/sys_mount.h"

#define PLOG_MIN (1ull << 20)
#define PLOG_MAX (4ull << 30)
#define PLOG_DEFAULT (32ull << 20)

// Words without a value. `flag` is set, or taken away when `clear`.
static const struct word {
    const char *name;
    unsigned long flag;
    bool clear;
} words[] = {
    {"ro", MS_RDONLY, false},         {"rw", MS_RDONLY, true},
    {"nosuid", MS_NOSUID, false},     {"suid", MS_NOSUID, true},
    {"nodev", MS_NODEV, false},       {"dev", MS_NODEV, true},
    {"noexec", MS_NOEXEC, false},     {"exec", MS_NOEXEC, true},
    {"sync", MS_SYNCHRONOUS, false},  {"async", MS_SYNCHRONOUS, true},
    {"dirsync", MS_DIRSYNC, false},   {"nodiratime", MS_NODIRATIME, false},
    {"diratime", MS_NODIRATIME, true}, {"nosymfollow", MS_NOSYMFOLLOW, false},
    {"allow_other", 0, false},        {"defaults", 0, false},
    {"default_permissions", 0, false},
    {"atime", 0, false},              {"loud", 0, false},
    {"silent", 0, false},             {"lazytime", 0, false},
    {"nolazytime", 0, false},         {"iversion", 0, false},
    {"noiversion", 0, false},
    // For those who read fstab, not for us.
    {"auto", 0, false},               {"noauto", 0, false},
    {"nofail", 0, false},             {"_netdev", 0, false},
    {"nouser", 0, false},             {"user_xattr", 0, false},
    {"acl", 0, false},
};

static bool parse_size(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || errno || *text == '-')
        return false;
    int shift = 0;
    switch (*end) {
    case 'k': case 'K': shift = 10; break;
    case 'm': case 'M': shift = 20; break;
    case 'g': case 'G': shift = 30; break;
    case 't': case 'T': shift = 40; break;
    }
    if (shift)
        end++;
    if (*end || value > UINT64_MAX >> shift)
        return false;
    *out = value << shift;
    return true;
}

static bool parse_count(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t value;
    if (!parse_size(text, &value) || value < min || value > max)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool set_flag(struct options *opt, const char *name)
{
    if (strcmp(name, "syncfs") == 0) {
        opt->hear_syncs = true;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i].name, name) != 0)
            continue;
        if (words[i].clear)
            opt->mount_flags &= ~words[i].flag;
        else
            opt->mount_flags |= words[i].flag;
        return true;
    }
    return strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0 || strncmp(name, "comment=", 8) == 0;
}

// The server keeps the times; the kernel is told so that it shows the same in /proc/mounts.
static bool set_atime(struct options *opt, const char *name)
{
    static const struct {
        const char *name;
        enum handoff_atime atime;
        unsigned long flag;
    } modes[] = {
        {"noatime", HANDOFF_NOATIME, MS_NOATIME},
        {"relatime", HANDOFF_RELATIME, MS_RELATIME},
        {"strictatime", HANDOFF_STRICTATIME, MS_STRICTATIME},
    };
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(name, modes[i].name) != 0)
            continue;
        opt->atime = modes[i].atime;
        opt->mount_flags &= ~(unsigned long)(MS_NOATIME | MS_RELATIME | MS_STRICTATIME);
        opt->mount_flags |= modes[i].flag;
        return true;
    }
    return false;
}

// 1: taken; 0: not one of these; negative: one of these, with a value that will not do.
static int set_value(struct options *opt, const char *name, const char *value, struct err *err)
{
    uint32_t count;
    if (strcmp(name, "cache") == 0) {
        if (!parse_size(value, &opt->cache_bytes) || opt->cache_bytes < 16u << 20)
            return err_set(err, EINVAL, "option cache=%s: not a size (16M or more, as in cache=512M)", value);
    } else if (strcmp(name, "plog") == 0) {
        bool off = strcmp(value, "off") == 0;
        if (off)
            opt->plog_bytes = 0;
        else if (!parse_size(value, &opt->plog_bytes) || opt->plog_bytes < PLOG_MIN || opt->plog_bytes > PLOG_MAX)
            return err_set(err, EINVAL, "option plog=%s: neither off nor a size between 1M and 4G", value);
        opt->plog_bytes = ROUND_UP(opt->plog_bytes, (uint64_t)BLOCK_BYTES);
    } else if (strcmp(name, "standby") == 0) {
        opt->standby = strcmp(value, "on") == 0;
        if (!opt->standby && strcmp(value, "off") != 0)
            return err_set(err, EINVAL, "option standby=%s: neither on nor off", value);
    } else if (strcmp(name, "hang") == 0) {
        if (!parse_count(value, 1, 3600, &opt->hang_s))
            return err_set(err, EINVAL, "option hang=%s: not a number of seconds between 1 and 3600", value);
    } else if (strcmp(name, "spin") == 0) {
        if (!parse_count(value, 0, 1000000, &count))
            return err_set(err, EINVAL, "option spin=%s: not a number of microseconds up to 1000000", value);
        opt->spin_us = count;
    } else if (strcmp(name, "journal") == 0 || strcmp(name, "data") == 0) {
        bool data = strcmp(value, "data") == 0 || strcmp(value, "journal") == 0;
        if (!data && strcmp(value, "ordered") != 0)
            return err_set(err, EINVAL, "option %s=%s: unknown mode (ordered or data)", name, value);
        opt->journal_data = data;
    } else if (strcmp(name, "user") == 0) {
        if (strlen(value) >= sizeof(opt->user) || !*value)
            return err_set(err, EINVAL, "option user=%s: not a user's name", value);
        strcpy(opt->user, value);
    } else if (strcmp(name, "workers") == 0) {
        if (strcmp(value, "auto") != 0 && strcmp(value, "1") != 0)
            return err_set(err, EINVAL, "option workers=%s: this version serves with one worker (use auto or 1)", value);
    } else if (strcmp(name, "policy") == 0) {
        if (strcmp(value, "plain") != 0)
            return err_set(err, EINVAL, "option policy=%s: no such policy (this version has: plain)", value);
    } else if (strcmp(name, "on-poison") == 0) {
        if (strcmp(value, "error") != 0)
            return err_set(err, EINVAL, "option on-poison=%s: this version has only on-poison=error", value);
    } else {
        return 0;
    }
    return 1;
}

static int take_option(struct options *opt, char *word, struct err *err)
{
    if (!*word || set_flag(opt, word) || set_atime(opt, word))
        return 0;
    if (strcmp(word, "remount") == 0 || strncmp(word, "remount,", 8) == 0)
        return err_set(err, EINVAL, "option remount: not possible (unmount, then mount with the new options)");
    char *equals = strchr(word, '=');
    if (equals) {
        *equals = 0;
        int rc = set_value(opt, word, equals + 1, err);
        if (rc)
            return rc < 0 ? rc : 0;
        *equals = '=';
    }
    return err_set(err, EINVAL, "option %s: not known (see drover mount --help)", word);
}

// Works on a copy: the command line stays as `ps` shall show it.
static int take_options(struct options *opt, const char *text, struct err *err)
{
    AUTO_FREE char *copy = xstrdup(text);
    char *list = copy;
    for (char *word; (word = strsep(&list, ","));) {
        int rc = take_option(opt, word, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int resolve(const char *path, char **out, struct err *err)
{
    *out = realpath(path, NULL);
    return *out ? 0 : err_set(err, errno, "%s: %s", path, strerror(errno));
}

int options_parse(struct options *opt, int argc, char **argv, struct err *err)
{
    static const struct option longs[] = {{"ready-fd", required_argument, NULL, 'r'}, {0}};
    *opt = (struct options){.ready_fd = -1, .hang_s = 10, .spin_us = 30, .plog_bytes = PLOG_DEFAULT, .standby = true};
    for (int c; (c = getopt_long(argc, argv, "fo:", longs, NULL)) != -1;) {
        int rc = 0;
        switch (c) {
        case 'f': opt->foreground = true; break;
        case 'o': rc = take_options(opt, optarg, err); break;
        case 'r': opt->ready_fd = atoi(optarg); break;
        default: rc = err_set(err, EINVAL, "wrong usage (drover-guardian is started by drover mount)");
        }
        if (rc < 0)
            return rc;
    }
    if (argc - optind != 2)
        return err_set(err, EINVAL, "wrong usage (drover-guardian is started by drover mount)");
    opt->read_only = opt->mount_flags & MS_RDONLY;
    int rc = resolve(argv[optind], &opt->disk, err);
    return rc < 0 ? rc : resolve(argv[optind + 1], &opt->mountpoint, err);
}
