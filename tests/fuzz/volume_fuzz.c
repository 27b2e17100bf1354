// SPDX-License-Identifier: MIT
// volume_fuzz.c - hostile volumes as ordinary input, through the whole core.
//
// A seed picks a volume, damages its metadata, mounts it, walks all of it, changes it, unmounts, and
// mounts once more. What is demanded of drover: no crash, no failed CHECK, no report of a sanitizer, no
// fibre that waits for ever, no endless work, no request outside the disk, and no file data where
// fixed metadata stands. Every error is a right answer. Each seed runs in a process of its own.
//
//   volume_fuzz --seeds 1-1000 [--jobs N] [--tap]
//   volume_fuzz --seed 7 --verbose
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../sim/world.h"
#include "base/check.h"
#include "base/log.h"
#include "volume_damage.h"
#include "volume_session.h"

#define VOLUMES 8
#define CPU_SECONDS_MAX 10
#define REAL_SECONDS_MAX 120
#define CHANGERS_MAX 3

struct options {
    uint64_t first, last;
    const char *volumes;
    const char *kept;
    bool verbose, tap;
    uint32_t jobs;
};

struct run {
    const struct options *options;
    struct volume *volume;
    struct prng chance;
    struct world_config config;
    struct world world;
    struct session session;
    uint32_t changes;               // of each changer
    bool pristine, mounted;
    const char *failed;
};

static uint32_t pick(struct run *run, uint32_t below)
{
    return (uint32_t)(prng_next(&run->chance) % below);
}

// --- what the disk must not see -------------------------------------------------------------------

// The linker sends the calls of dev_read() and dev_write() through here (meson.build).
static const char *forbidden;           // what a request did
static const struct volume *guarded;    // its fixed metadata must not get file data; NULL: damage may have moved it

int __real_dev_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt);
int __wrap_dev_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt);
int __real_dev_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags);
int __wrap_dev_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags);

// The front of every device refuses such a request, but whoever made it has believed a number from the disk.
static void judge_place(const struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    uint64_t count = iov_bytes(iov, iovcnt) / BLOCK_BYTES;
    if (block <= dev->block_count && count <= dev->block_count - block)
        return;
    log_error("event=request-outside block=%llu count=%llu", (unsigned long long)block, (unsigned long long)count);
    forbidden = "a request outside the disk";
}

static bool is_file_data(const uint8_t *bytes)
{
    for (uint32_t at = 0, same = 0; at < BLOCK_BYTES; at++) {
        same = bytes[at] == SESSION_DATA ? same + 1 : 0;
        if (same == 64)
            return true;
    }
    return false;
}

// Judged at the write, because a later write of the right block would hide it.
static void judge_bytes(uint64_t block, const uint8_t *bytes)
{
    if (!guarded || !volume_is_fixed(guarded, block) || !is_file_data(bytes))
        return;
    log_error("event=data-in-metadata block=%llu", (unsigned long long)block);
    forbidden = "file data in fixed metadata";
}

int __wrap_dev_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    judge_place(dev, block, iov, iovcnt);
    return __real_dev_read(dev, block, iov, iovcnt);
}

int __wrap_dev_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    judge_place(dev, block, iov, iovcnt);
    uint64_t at = block;
    for (int i = 0; i < iovcnt; i++)
        for (size_t off = 0; off < iov[i].iov_len; off += BLOCK_BYTES)
            judge_bytes(at++, (const uint8_t *)iov[i].iov_base + off);
    return __real_dev_write(dev, block, iov, iovcnt, flags);
}

// --- one boot -------------------------------------------------------------------------------------

static int changer(void *arg)
{
    struct run *run = arg;
    session_change(&run->session, run->changes);
    return 0;
}

static void visit(struct run *run)
{
    struct rt_group group;
    session_walk(&run->session);
    rt_group_init(&group, run->world.rt);
    for (uint32_t i = 1 + pick(run, CHANGERS_MAX); i > 0; i--)
        rt_group_go(&group, "changer", changer, run);
    if (rt_group_wait(&group) < 0)
        run->failed = "a changer failed";
}

static void visit_fibre(void *arg)
{
    struct run *run = arg;
    int rc = world_mount(&run->world);
    run->mounted = rc == 0;
    if (rc == 0) {
        visit(run);
        rc = world_unmount(&run->world);
    } else if (run->options->verbose) {
        fprintf(stderr, "refused: %s: %s\n", strerror(-rc), run->world.err.text);
    }
    if (rc < 0 && run->pristine)
        run->failed = "an undamaged volume was refused or not left clean";
    if (!run->mounted && run->world.err.text[0] == '\0')
        run->failed = "refused without a sentence";
    rt_stop(run->world.rt);
}

static void boot(struct run *run)
{
    struct rt *rt = rt_sim_create(prng_next(&run->chance));
    struct legacy_sim legacy;
    legacy_init(&legacy, &run->config);
    int made = world_init(&run->world, &run->config, &(struct world_door){0}, rt, run->volume->disk, &legacy);
    CHECK(made == 0);               // nothing is inherited
    run->session = (struct session){.world = &run->world, .chance = &run->chance, .tell = run->options->verbose};
    run->changes = 5 + pick(run, pick(run, 8) ? 60 : 600);
    rt_spawn(run->world.rt, "visit", visit_fibre, run);
    int rc = rt_run(run->world.rt);
    if (rc < 0)
        run->failed = rc == -EDEADLK ? "fibres wait for ever" : "the loop failed";
    if (rc == 0) {                  // else its fibres stand where they stood, and the process ends
        world_fini(&run->world);
        rt_destroy(rt);
        legacy_fini(&legacy);
    }
    if (forbidden)
        run->failed = forbidden;
}

// --- one seed -------------------------------------------------------------------------------------

static int seed_process(const struct options *options, struct volume *volumes, uint64_t seed)
{
    struct run run = {.options = options};
    prng_seed(&run.chance, seed);
    uint32_t number = pick(&run, VOLUMES);
    run.volume = &volumes[number];
    struct damage damage = {.tell = options->verbose};
    damage.count = pick(&run, 32) == 0 ? 0 : 1 + pick(&run, pick(&run, 3) ? 4 : 40);
    damage.seal = pick(&run, 4) != 0;
    run.pristine = damage.count == 0;
    if (options->verbose)
        fprintf(stderr, "volume %u, %u places, %s\n", number, damage.count, damage.seal ? "sealed" : "not sealed");
    uint32_t hit = volume_damage(run.volume, &run.chance, &damage);
    // Damage of these can move the fixed metadata itself.
    guarded = hit & (1u << PIECE_SUPER | 1u << PIECE_DESC | 1u << PIECE_JOURNAL) ? NULL : run.volume;
    run.config = (struct world_config){
        .log_slots = PLOG_SLOTS_MIN,
        .page_count = 96 + pick(&run, 2) * 1500,
        .buf_bytes = (uint64_t)(64 + pick(&run, 2) * 4096) << 10,
        .commit_interval_ms = pick(&run, 3) ? 5000 : 1 + pick(&run, 300),
        .journal_data = pick(&run, 6) == 0,
    };
    boot(&run);
    if (!run.failed && run.mounted)
        boot(&run);
    if (options->verbose)
        fprintf(stderr, "%llu changes, %llu refused\n", (unsigned long long)run.session.asked, (unsigned long long)run.session.refused);
    if (run.failed)
        fprintf(stderr, "%s\n", run.failed);
    return run.failed ? 1 : 0;
}

// A report of undefined behaviour is the end of the seed, however the test is started.
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "halt_on_error=1:print_stacktrace=1";
}

extern void __sanitizer_print_stack_trace(void) __attribute__((weak));

static void out_of_time(int signal)
{
    static const char text[] = "out of time\n";
    if (write(STDERR_FILENO, text, sizeof(text) - 1) > 0 && __sanitizer_print_stack_trace)
        __sanitizer_print_stack_trace();
    _exit(1);
}

// Processor time, because other work on the machine is not the seed's fault; real time as a last resort.
static void limit_time(void)
{
    struct itimerval limit = {.it_value.tv_sec = CPU_SECONDS_MAX};
    signal(SIGVTALRM, out_of_time);
    setitimer(ITIMER_VIRTUAL, &limit, NULL);
    signal(SIGALRM, out_of_time);
    alarm(REAL_SECONDS_MAX);
}

static void print_last_lines(FILE *file)
{
    static char text[6001];
    fflush(file);
    long end = lseek(fileno(file), 0, SEEK_END), start = MAX(0, end - (long)sizeof(text) + 1);
    ssize_t len = pread(fileno(file), text, sizeof(text) - 1, start);
    fwrite(text, 1, (size_t)MAX(0, len), stdout);
}

// In a child, whose words are only kept when it fails.
static bool seed_passes(const struct options *options, struct volume *volumes, uint64_t seed)
{
    FILE *words = tmpfile();
    fflush(stdout);
    pid_t child = options->verbose ? 0 : fork();
    if (child == 0) {
        if (!options->verbose)
            dup2(fileno(words), STDERR_FILENO);
        limit_time();
        _exit(seed_process(options, volumes, seed));
    }
    int status = 0;
    waitpid(child, &status, 0);
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ok) {
        print_last_lines(words);
        printf("seed %llu failed (replay: volume_fuzz --seed %llu --verbose)\n", (unsigned long long)seed, (unsigned long long)seed);
    }
    if (options->tap)
        printf("%s - volume seed %llu\n", ok ? "ok" : "not ok", (unsigned long long)seed);
    fclose(words);
    return ok;
}

// The seeds of tests/seeds.txt that say `volume-fuzz SEED`: each has found a bug.
static int run_kept(const struct options *options, struct volume *volumes)
{
    int failures = 0;
    char line[256];
    unsigned long long seed;
    FILE *file = fopen(options->kept, "re");
    if (!file) {
        fprintf(stderr, "volume_fuzz: %s: %s\n", options->kept, strerror(errno));
        return 1;
    }
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "volume-fuzz %llu", &seed) == 1)
            failures += !seed_passes(options, volumes, seed);
    fclose(file);
    return failures;
}

static int run_share(const struct options *options, struct volume *volumes, uint32_t share)
{
    int failures = 0;
    for (uint64_t seed = options->first + share; seed <= options->last; seed += options->jobs)
        failures += !seed_passes(options, volumes, seed);
    return failures;
}

static void parse(struct options *options, int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'r'}, {"volumes", required_argument, NULL, 'd'},
        {"kept", required_argument, NULL, 'k'}, {"verbose", no_argument, NULL, 'v'}, {"tap", no_argument, NULL, 't'}, {"jobs", required_argument, NULL, 'j'}, {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        char *end;
        switch (c) {
        case 's': options->first = options->last = strtoull(optarg, NULL, 10); break;
        case 'r':
            options->first = strtoull(optarg, &end, 10);
            options->last = *end == '-' ? strtoull(end + 1, NULL, 10) : options->first;
            break;
        case 'd': options->volumes = optarg; break;
        case 'k': options->kept = optarg; break;
        case 'v': options->verbose = true; break;
        case 't': options->tap = true; break;
        case 'j': options->jobs = (uint32_t)MAX(1, atoi(optarg)); break;
        default:
            fprintf(stderr, "usage: volume_fuzz [--seed N | --seeds A-B] [--kept FILE] [--volumes DIR] [--jobs N] [--tap] [--verbose]\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .last = 100, .jobs = 1, .volumes = VOLUME_DIR};
    struct volume volumes[VOLUMES];
    int failures = 0;

    parse(&options, argc, argv);
    log_set_level(options.verbose ? LOG_DEBUG_LEVEL : LOG_ERROR_LEVEL);
    for (uint32_t i = 0; i < VOLUMES; i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%u.img", options.volumes, i);
        volume_load(&volumes[i], path);
    }
    if (options.kept)
        failures += run_kept(&options, volumes);
    if (options.verbose || options.jobs == 1) {
        failures += run_share(&options, volumes, 0);
    } else {
        for (uint32_t share = 0; share < options.jobs; share++) {
            fflush(stdout);
            if (fork() == 0)
                exit(MIN(run_share(&options, volumes, share), 100));
        }
        for (int status; wait(&status) > 0;)
            failures += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    for (uint32_t i = 0; i < VOLUMES; i++)
        volume_fini(&volumes[i]);
    if (!options.tap)
        printf("%llu seeds, %d failed\n", (unsigned long long)(options.last - options.first + 1), failures);
    return failures ? 1 : 0;
}
