// SPDX-License-Identifier: MIT
// sim.c - the deterministic world: seeds in, verdicts out.
//
// A seed chooses the volume's features, the sizes of the caches, the clients and what they do, every
// delay of the disk, the order in which fibres run, and when the power fails. Each seed runs in a
// process of its own, so that a failed CHECK is one seed's verdict. `sim --seed N --verbose`
// replays one exactly.
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/log.h"
#include "client.h"
#include "judge.h"
#include "rt/prng.h"

#define CLIENTS_MAX 4

static const struct {
    const char *options;
    uint32_t mib;
} volumes[] = {
    {"-O metadata_csum,64bit", 24},
    {"-O metadata_csum,64bit -g 2048 -J size=4", 32},
    {"-O ^metadata_csum,uninit_bg,^64bit -J size=4", 24},
    {"-O metadata_csum,^64bit,^dir_index", 24},
    {"-O ^extent,^64bit,^flex_bg,^metadata_csum -J size=4", 32},
    {"-O metadata_csum,64bit -I 128", 24},
    {"-O metadata_csum,64bit,orphan_file,metadata_csum_seed -I 512 -J size=4", 32},
    {"-O metadata_csum,64bit,sparse_super2,^resize_inode -J size=4", 32},
};

struct options {
    uint64_t first, last;
    const char *dir, *kept;
    bool verbose, tap, no_cuts;
    uint32_t jobs;
};

struct run {
    const struct options *options;
    uint64_t seed;
    struct prng chance;
    struct sim_disk *disk;
    struct world_config config;
    struct world world;
    struct client *clients;
    uint32_t client_count;
    bool made;              // the clients' directories exist
    bool crashed;           // the last boot ended in a power cut
    bool failed;
    char story[640];
};

static uint32_t pick(struct run *run, uint32_t below)
{
    return (uint32_t)(prng_next(&run->chance) % below);
}

static void fail(struct run *run, const char *what, int rc)
{
    if (!run->failed)
        snprintf(run->story, sizeof(run->story), "%s: %s", what, rc ? strerror(-rc) : "");
    run->failed = true;
}

// --- one boot -------------------------------------------------------------------------------------

static int client_fibre(void *arg)
{
    client_run(arg);
    return 0;
}

// Makes a directory in the root, or finds the one that a boot before the power cut made.
static int make_directory(struct ops *ops, const char *name, struct ops_attr *out)
{
    struct ops_name of = {name, strlen(name)};
    int rc = ops_mkdir(ops, &(struct ops_caller){0}, OPS_ROOT, of, 0755, out);
    return rc == -EEXIST ? ops_lookup(ops, OPS_ROOT, of, out) : rc;
}

// The clients' directories, once. Durable before the first client runs.
static int make_directories(struct run *run)
{
    struct ops *ops = run->world.ops;
    struct ops_attr own[CLIENTS_MAX], shared;
    int rc = make_directory(ops, "shared", &shared);
    for (uint32_t i = 0; rc == 0 && i < run->client_count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "own%u", i);
        rc = make_directory(ops, name, &own[i]);
    }
    if (rc == 0)
        rc = ops_sync(ops);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < run->client_count; i++) {
        client_init(&run->clients[i], &run->world, i, prng_next(&run->chance), own[i].ino, shared.ino);
        run->clients[i].verbose = run->options->verbose;
    }
    run->made = true;
    return 0;
}

static bool each_client(struct run *run, bool (*ask)(struct client *client))
{
    for (uint32_t i = 0; i < run->client_count; i++) {
        if (!ask(&run->clients[i]) || run->clients[i].failed) {
            snprintf(run->story, sizeof(run->story), "%s", run->clients[i].story);
            run->failed = true;
            return false;
        }
    }
    return true;
}

static bool close_all(struct client *client)
{
    for (size_t i = 0; i < ARRAY_LEN(client->open); i++) {
        if (client->open[i])
            ops_forget(client->world->ops, client->now.nodes[client->open[i]].ino, 1);
        client->open[i] = 0;
    }
    return true;
}

static void session(struct run *run)
{
    int rc = world_mount(&run->world);
    if (rc < 0) {
        fail(run, run->world.err.text, rc);
        return;
    }
    if (!run->made && (rc = make_directories(run)) < 0) {
        fail(run, "making the clients' directories", rc);
        return;
    }
    if (run->crashed && !each_client(run, client_recover))
        return;
    run->crashed = false;

    struct rt_group group;
    rt_group_init(&group, run->world.rt);
    for (uint32_t i = 0; i < run->client_count; i++) {
        run->clients[i].ops_left = 10 + pick(run, 120);
        rt_group_go(&group, "client", client_fibre, &run->clients[i]);
    }
    rc = rt_group_wait(&group);
    if (rc < 0)
        fail(run, "clients", rc);
    if (!each_client(run, client_compare) || !each_client(run, close_all))
        return;
    rc = world_unmount(&run->world);
    if (rc < 0)
        fail(run, "unmount", rc);
}

static void session_fibre(void *arg)
{
    struct run *run = arg;
    session(run);
    if (run->failed)
        rt_sim_halt(run->world.rt);
    rt_stop(run->world.rt);
}

// One boot: mounts, lets the clients work, unmounts; or is cut off somewhere in between.
static void boot(struct run *run, bool may_cut)
{
    world_init(&run->world, &run->config, run->disk, prng_next(&run->chance));
    for (uint32_t i = 0; i < run->client_count; i++)
        run->clients[i].world = &run->world;
    sim_disk_cut_after(run->disk, may_cut ? 1 + pick(run, run->crashed && pick(run, 3) == 0 ? 12 : 400) : 0);
    rt_spawn(run->world.rt, "session", session_fibre, run);
    int rc = rt_run(run->world.rt);
    sim_disk_cut_after(run->disk, 0);
    if (rc < 0 && rc != -ECANCELED)
        fail(run, "the loop", rc);
    world_fini(&run->world, rc < 0);
    if (run->failed)
        return;
    if (rc == 0) {
        for (uint32_t i = 0; i < run->client_count; i++)
            client_all_durable(&run->clients[i]);
        if (judge_clean(run->disk, run->options->dir, "after a clean unmount") < 0)
            fail(run, "e2fsck after unmount", 0);
        return;
    }
    if (run->options->verbose)
        fprintf(stderr, "power cut\n");
    sim_disk_power_cut(run->disk, &run->chance);
    run->crashed = run->made;
    if (pick(run, 3) == 0 && judge_crashed(run->disk, run->options->dir, "after a power cut") < 0)
        fail(run, "e2fsck after a power cut", 0);
}

// --- one seed -------------------------------------------------------------------------------------

static void run_seed(struct run *run)
{
    uint32_t boots = 1 + pick(run, 5);
    run->config = (struct world_config){
        .page_count = 96 + pick(run, 2) * 1500,
        .buf_bytes = (uint64_t)(64 + pick(run, 2) * 4096) << 10,
        .commit_interval_ms = pick(run, 3) ? 5000 : 1 + pick(run, 300),
        .journal_data = pick(run, 6) == 0,
    };
    run->client_count = 1 + pick(run, CLIENTS_MAX);
    run->clients = xcalloc(run->client_count, sizeof(*run->clients));
    for (uint32_t i = 0; i < boots && !run->failed; i++)
        boot(run, !run->options->no_cuts && pick(run, 4) != 0);
    // The last boot is left in peace: recovery, one more round, clean.
    if (!run->failed)
        boot(run, false);
}

static int seed_process(const struct options *options, struct sim_disk **templates, uint64_t seed)
{
    struct run run = {.options = options, .seed = seed};
    prng_seed(&run.chance, seed);
    uint32_t volume = pick(&run, ARRAY_LEN(volumes));
    run.disk = sim_disk_clone(templates[volume]);
    sim_disk_keep_whole(run.disk, 0);
    if (options->verbose)
        fprintf(stderr, "seed %llu: mke2fs %s\n", (unsigned long long)seed, volumes[volume].options);
    run_seed(&run);
    if (!run.failed)
        return 0;
    printf("seed %llu: %s\n  (mke2fs %s; replay: make sim SEED=%llu)\n", (unsigned long long)seed, run.story, volumes[volume].options,
           (unsigned long long)seed);
    return 1;
}

static struct sim_disk *template_make(const char *dir, uint32_t index)
{
    char path[256], command[1024];
    struct err err = {0};
    struct sim_disk *disk;
    snprintf(path, sizeof(path), "%s/template-%d.img", dir, getpid());
    // A fixed UUID and hash seed: the same seed must make the same world on every machine and day.
    snprintf(command, sizeof(command),
             "E2FSPROGS_FAKE_TIME=1500000000 mke2fs -q -F -t ext4 -b 4096 %s -U 01234567-89ab-cdef-0123-456789abcdef "
             "-E hash_seed=01234567-89ab-cdef-0123-456789abcdef %s %uM >/dev/null",
             volumes[index].options, path, volumes[index].mib);
    if (system(command) != 0 || sim_disk_load(path, &disk, &err) < 0) {
        fprintf(stderr, "sim: cannot make a volume with mke2fs %s %s\n", volumes[index].options, err.text);
        exit(1);
    }
    unlink(path);
    return disk;
}

// One seed in a process of its own; 1 when it failed.
static int run_one(const struct options *options, struct sim_disk **templates, uint64_t seed)
{
    fflush(stdout);
    pid_t child = options->verbose ? 0 : fork();
    if (child == 0) {
        int rc = seed_process(options, templates, seed);
        fflush(stdout);
        _exit(rc);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("seed %llu: ended by signal %d (replay: make sim SEED=%llu)\n", (unsigned long long)seed, WTERMSIG(status),
               (unsigned long long)seed);
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (options->tap)
        printf("%s - seed %llu\n", ok ? "ok" : "not ok", (unsigned long long)seed);
    return !ok;
}

static int run_share(const struct options *options, struct sim_disk **templates, uint32_t share)
{
    int failures = 0;
    for (uint64_t seed = options->first + share; seed <= options->last; seed += options->jobs)
        failures += run_one(options, templates, seed);
    return failures;
}

// The seeds that once found a bug: lines "sim SEED  # what it was".
static int run_kept(const struct options *options, struct sim_disk **templates)
{
    FILE *file = fopen(options->kept, "r");
    char line[512];
    unsigned long long seed;
    int failures = 0;
    if (!file) {
        fprintf(stderr, "sim: cannot read %s\n", options->kept);
        return 1;
    }
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "sim %llu", &seed) == 1)
            failures += run_one(options, templates, seed);
    fclose(file);
    return failures;
}

static void parse(struct options *options, int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'r'}, {"verbose", no_argument, NULL, 'v'},
        {"tap", no_argument, NULL, 't'}, {"jobs", required_argument, NULL, 'j'}, {"kept", required_argument, NULL, 'k'}, {"no-cuts", no_argument, NULL, 'n'}, {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        char *end;
        switch (c) {
        case 's': options->first = options->last = strtoull(optarg, NULL, 10); break;
        case 'r':
            options->first = strtoull(optarg, &end, 10);
            options->last = *end == '-' ? strtoull(end + 1, NULL, 10) : options->first;
            break;
        case 'v': options->verbose = true; break;
        case 't': options->tap = true; break;
        case 'n': options->no_cuts = true; break;
        case 'k': options->kept = optarg; break;
        case 'j': options->jobs = (uint32_t)MAX(1, atoi(optarg)); break;
        default:
            fprintf(stderr, "usage: sim [--seed N | --seeds A-B | --kept FILE] [--jobs N] [--no-cuts] [--tap] [--verbose]\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char dir[] = "XXXXXXXX/drover-sim-XXXXXX";
    struct options options = {.first = 1, .last = 100, .jobs = 1};
    struct sim_disk *templates[ARRAY_LEN(volumes)];
    int failures = 0;

    parse(&options, argc, argv);
    snprintf(dir, sizeof(dir), "%s/drover-sim-XXXXXX", tmp);
    options.dir = mkdtemp(dir);
    log_set_level(options.verbose ? LOG_DEBUG_LEVEL : LOG_ERROR_LEVEL);
    for (uint32_t i = 0; i < ARRAY_LEN(volumes); i++)
        templates[i] = template_make(options.dir, i);

    if (options.kept) {
        failures = run_kept(&options, templates);
    } else if (options.verbose || options.jobs == 1) {
        failures = run_share(&options, templates, 0);
    } else {
        for (uint32_t share = 0; share < options.jobs; share++) {
            fflush(stdout);
            if (fork() == 0)
                exit(MIN(run_share(&options, templates, share), 100));
        }
        for (int status; wait(&status) > 0;)
            failures += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    rmdir(dir);
    if (!options.tap && !options.kept)
        printf("%llu seeds, %d failed\n", (unsigned long long)(options.last - options.first + 1), failures);
    return failures ? 1 : 0;
}
