// SPDX-License-Identifier: MIT
// differential.c - the same calls on two filesystems; nobody may see a difference.
//
//   differential DIR_A DIR_B [--seed N] [--steps M] [--keep-going]
//
// DIR_A is on the kernel's ext4, DIR_B on a copy of the same volume served by drover. Every step is
// drawn from the seed and made on both sides: return value, errno, what was read, and what stat tells of
// the objects afterwards must be equal; now and then also which times moved, and the whole trees.
#include "differential_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WATCHED = 6, TREE_EVERY = 150, CLOCK_EVERY = 8 };

bool with_unwritten;
static uint64_t state;
static int real_root;
static const char *volatile doing = "";

uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(((state >> 33) * below) >> 31);
}

// --- being somebody, somewhere -----------------------------------------------------------------------

static void must(bool fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "differential: %s: %s\n", what, strerror(errno));
        exit(2);
    }
}

static void enter(const struct side *side)
{
    must(fchdir(side->root) == 0 && chroot(".") == 0 && fchdir(side->cwd) == 0, "chroot");
}

static void leave(void)
{
    must(fchdir(real_root) == 0 && chroot(".") == 0, "leaving a chroot");
}

static void become(const struct call *call)
{
    const struct user *user = call->user;
    umask(call->umask);
    if (user->uid == 0)
        return;
    must(setgroups((size_t)user->group_count, user->groups) == 0, "setgroups");
    if (call->by_fsuid) {
        setfsgid(user->gid);
        setfsuid(user->uid);
    } else {
        must(setegid(user->gid) == 0 && seteuid(user->uid) == 0, "seteuid");
    }
}

static void be_root(void)
{
    setfsuid(0);
    must(seteuid(0) == 0 && setegid(0) == 0 && setgroups(0, NULL) == 0, "root again");
    setfsgid(0);
    umask(0);
}

static void open_side(struct side *side, const char *name, const char *dir)
{
    side->name = name;
    side->root = open(dir, O_PATH | O_DIRECTORY);
    must(side->root >= 0, dir);
    side->cwd = dup(side->root);
    must(fchmodat(side->root, ".", 0777, 0) == 0, "chmod");
    for (int i = 0; i < SLOTS; i++)
        side->fds[i] = -1;
}

static void close_side(struct side *side)
{
    for (int i = 0; i < SLOTS; i++)
        if (side->fds[i] >= 0)
            close(side->fds[i]);
    close(side->cwd);
    close(side->root);
}

// --- what is looked at around a step --------------------------------------------------------------

struct watch {
    int fd[WATCHED];            // O_PATH, so that a file can be followed through its removal
    struct stat before[WATCHED];
};

static int watch_path(const char *path, bool parent)
{
    char copy[PATH_ROOM];
    snprintf(copy, sizeof(copy), "%s", path);
    return open(parent ? dirname(copy) : copy, O_PATH | (parent ? 0 : O_NOFOLLOW));
}

static void watch_begin(struct watch *watch, const struct call *call, const struct side *side)
{
    enter(side);
    for (int i = 0; i < 2; i++) {
        watch->fd[i * 3] = watch_path(call->path[i], true);
        watch->fd[i * 3 + 1] = watch_path(call->path[i], false);
        watch->fd[i * 3 + 2] = side->fds[call->slot[i]] < 0 ? -1 : dup(side->fds[call->slot[i]]);
    }
    for (int i = 0; i < WATCHED; i++)
        if (watch->fd[i] >= 0)
            fstat(watch->fd[i], &watch->before[i]);
    leave();
}

static char moved(struct timespec a, struct timespec b, char letter)
{
    return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec ? letter : '-';
}

// "name-or-parent: which of the three times moved", for every object that was watched.
static void watch_end(struct watch *watch, char *out, size_t room)
{
    static const char *const what[WATCHED] = {"dir0", "path0", "slot0", "dir1", "path1", "slot1"};
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < WATCHED; i++) {
        struct stat now, *old = &watch->before[i];
        if (watch->fd[i] < 0)
            continue;
        if (fstat(watch->fd[i], &now) == 0)
            used += (size_t)snprintf(out + used, room - used, "%s:%c%c%c ", what[i], moved(old->st_atim, now.st_atim, 'a'),
                                     moved(old->st_mtim, now.st_mtim, 'm'), moved(old->st_ctim, now.st_ctim, 'c'));
        close(watch->fd[i]);
    }
}

// What stat and the current offset tell of everything that the call could have touched.
static void tell_touched(const struct call *call, const struct side *side, char *out, size_t room)
{
    char told[256];
    size_t used = 0;
    enter(side);
    for (int i = 0; i < 2; i++) {
        tell_stat(AT_FDCWD, call->path[i], AT_SYMLINK_NOFOLLOW, told, sizeof(told));
        used += (size_t)snprintf(out + used, room - used, "path%d{%s} ", i, told);
        int fd = side->fds[call->slot[i]];
        if (fd < 0)
            continue;
        struct stat st;
        tell_stat(fd, "", AT_EMPTY_PATH, told, sizeof(told));
        off_t off = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
        used += (size_t)snprintf(out + used, room - used, "slot%d{%s off=%lld} ", i, told, (long long)off);
    }
    leave();
}

// --- a step ------------------------------------------------------------------------------------------

static struct side sides[2];
static struct answer answers[2];

static void act(const struct call *call, struct side *side, struct answer *answer)
{
    answer->ret = answer->err = 0;
    answer->len = 0;
    answer->text[0] = answer->out[0] = '\0';
    doing = side->name;
    alarm(60);
    enter(side);
    become(call);
    call->kind->run(call, side, answer);
    be_root();
    leave();
    alarm(0);
}

static void draw_kind(struct call *call)
{
    uint32_t total = 0;
    for (size_t i = 0; i < kind_count; i++)
        total += kinds[i].weight;
    uint32_t at = draw(total);
    size_t i = 0;
    while (at >= kinds[i].weight)
        at -= kinds[i++].weight;
    call->kind = &kinds[i];
}

static void show(const struct call *call, const char *what, const char *a, const char *b)
{
    printf("#   %s differs\n#     ext4   %s\n#     drover %s\n#     as uid %d gid %d%s umask %o\n", what, a, b, (int)call->user->uid, (int)call->user->gid,
           call->by_fsuid ? " by fsuid" : "", call->umask);
}

static const char *shown(const struct answer *answer, char *room, size_t size)
{
    size_t used = (size_t)snprintf(room, size, "%ld errno %d (%s) %zu bytes: ", answer->ret, answer->err, answer->err ? strerror(answer->err) : "-", answer->len);
    for (size_t i = 0; i < answer->len && used + 5 < size && i < 300; i++)
        used += (size_t)snprintf(room + used, size - used, answer->out[i] >= ' ' && answer->out[i] < 127 ? "%c" : "\\%02x", answer->out[i]);
    return room;
}

// "blocks=N": one block more or less is one of the extent tree, which depends on what was free nearby.
static bool near_enough(void)
{
    long blocks[2];
    for (int i = 0; i < 2; i++)
        if (answers[i].ret != 0 || sscanf((char *)answers[i].out, "blocks=%ld", &blocks[i]) != 1)
            return false;
    return labs(blocks[0] - blocks[1]) <= 8;
}

static int compare_answers(const struct call *call)
{
    static char a[4096], b[4096];
    if (near_enough())
        return 0;
    if (answers[0].ret == answers[1].ret && answers[0].err == answers[1].err && answers[0].len == answers[1].len &&
        memcmp(answers[0].out, answers[1].out, answers[0].len) == 0)
        return 0;
    show(call, "the answer", shown(&answers[0], a, sizeof(a)), shown(&answers[1], b, sizeof(b)));
    return 1;
}

static int compare_told(const struct call *call, const char *what, char told[2][2048])
{
    if (strcmp(told[0], told[1]) == 0)
        return 0;
    show(call, what, told[0], told[1]);
    return 1;
}

static int step(struct call *call)
{
    static char touched[2][2048], times[2][2048];
    struct watch watch[2];
    draw_kind(call);
    draw_call(call);
    bool clock = draw(CLOCK_EVERY) == 0;
    if (clock) {
        for (int i = 0; i < 2; i++)
            watch_begin(&watch[i], call, &sides[i]);
        nanosleep(&(struct timespec){.tv_nsec = 12000000}, NULL);      // more than a jiffy
    }
    for (int i = 0; i < 2; i++)
        act(call, &sides[i], &answers[i]);
    int differences = compare_answers(call);
    for (int i = 0; i < 2; i++)
        tell_touched(call, &sides[i], touched[i], sizeof(touched[i]));
    differences += compare_told(call, "stat", touched);
    for (int i = 0; i < 2 && clock; i++)
        watch_end(&watch[i], times[i], sizeof(times[i]));
    return differences + (clock && !call->kind->silent_clock ? compare_told(call, "the set of times that moved", times) : 0);
}

// --- the program ------------------------------------------------------------------------------------

static void on_alarm(int signal)
{
    (void)signal;
    (void)!write(1, "# hangs on ", 11);
    (void)!write(1, doing, strlen(doing));
    (void)!write(1, "\n", 1);
    _exit(3);
}

struct options {
    const char *dirs[2];
    unsigned long seed, steps, from;
    bool keep_going, verbose;
};

static void run(const struct options *options)
{
    static struct call call;
    int differences = 0;
    state = options->seed * 0x9e3779b97f4a7c15ull + 1;
    with_unwritten = options->seed % 2;
    for (unsigned long i = 1; i <= options->steps; i++) {
        int found = step(&call);
        if (options->verbose || found)
            printf("# step %lu: %s -> %ld %s\n", i, answers[0].text, answers[0].ret, answers[0].err ? strerrorname_np(answers[0].err) : "");
        if (i % TREE_EVERY == 0 || i == options->steps) {
            int trees = compare_trees(&sides[0], &sides[1]);
            if (trees)
                printf("# the trees differ after step %lu\n", i);
            found += trees;
        }
        differences += found;
        if (found && !options->keep_going)
            break;
    }
    printf("%s - seed %lu, %lu steps\n", differences ? "not ok" : "ok", options->seed, options->steps);
    exit(differences ? 1 : 0);
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1, .steps = 1000};
    int dirs = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            options.seed = strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc)
            options.steps = strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--keep-going") == 0)
            options.keep_going = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            options.verbose = true;
        else if (dirs < 2)
            options.dirs[dirs++] = argv[i];
    }
    if (dirs != 2) {
        fprintf(stderr, "usage: differential DIR_A DIR_B [--seed N] [--steps M] [--keep-going] [--verbose]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, on_alarm);
    signal(SIGPIPE, SIG_IGN);
    real_root = open("/", O_PATH | O_DIRECTORY);
    open_side(&sides[0], "ext4", options.dirs[0]);
    open_side(&sides[1], "drover", options.dirs[1]);
    run(&options);
    close_side(&sides[0]);
    close_side(&sides[1]);
    return 0;
}
