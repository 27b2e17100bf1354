// SPDX-License-Identifier: MIT
// sim.c - the deterministic world: seeds in, verdicts out.
//
// A seed chooses the volume's features, the sizes of the caches, the clients and what they do, every
// delay of the disk, the order in which fibres run, when the server dies and when the power fails. Each
// seed runs in a process of its own, so that a failed CHECK is one seed's verdict. `sim --seed N --verbose`
// replays one exactly.
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/page.h"
#include "client.h"
#include "dev/fault.h"
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
    bool verbose, tap, no_cuts, no_kills, no_faults, flips;
    uint32_t jobs;
};

// How a boot ends.
enum fate {
    FATE_CLEAN,             // it is unmounted
    FATE_CUT,               // the power fails
    FATE_KILL,              // the server dies; everybody else lives on
};

// When a server dies: at a step of the disk, at a point of the code, or wherever it happens to be.
struct kill {
    bool at_probe;
    enum rt_probe point;
    uint32_t passes;        // of the point, before
};

struct run {
    const struct options *options;
    uint64_t seed;
    struct prng chance;
    struct sim_disk *disk;
    struct world_config config;
    struct world world;
    struct rt *rt;
    struct legacy_sim legacy;
    struct kill kill;
    struct client *clients;
    uint32_t client_count;
    bool made;              // the clients' directories exist
    bool faulty;            // the disk errs
    bool faults_on;         // in this boot
    bool gave_up;           // it erred so that this boot came to nothing
    bool crashed;           // the power has failed, and the clients have not yet looked what is left
    uint32_t kills, flips;
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

// An error of the disk ends a boot, but proves nothing; any other is a failure.
static void trouble(struct run *run, const char *what, int rc)
{
    // After an abort the volume is not what the log expects, which is said, and ends in distrust.
    if (run->faulty && (rc == -EIO || rc == -EROFS || rc == -EFSCORRUPTED))
        run->gave_up = true;
    else
        fail(run, what, rc);
}

// --- one boot -------------------------------------------------------------------------------------

static int client_fibre(void *arg)
{
    client_run(arg);
    return 0;
}

static int resend_fibre(void *arg)
{
    client_resend(arg);
    return 0;
}

// All clients at once, each on a fibre of its own.
static YIELDS int clients_go(struct run *run, int (*fn)(void *client))
{
    struct rt_group group;
    rt_group_init(&group, run->rt);
    for (uint32_t i = 0; i < run->client_count; i++)
        rt_group_go(&group, "client", fn, &run->clients[i]);
    return rt_group_wait(&group);
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
        run->clients[i].faults = run->faulty;
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

// What a dead server had told its clients is there, all of it; and what it had not answered is asked again.
static YIELDS bool take_over(struct run *run)
{
    world_take_over(&run->world);
    int rc = clients_go(run, resend_fibre);
    if (rc < 0)
        fail(run, "asking again", rc);
    return each_client(run, client_compare);
}

// Everything is durable, so nothing may be left in the P-Log but the operation that looks.
static YIELDS bool log_is_given_back(struct run *run)
{
    struct ops_setattr set = {.set = OPS_TOUCH};
    struct ops_attr attr;
    int rc = ops_sync(run->world.ops);
    // Files that have just been closed for good are deleted meanwhile.
    rt_sleep_until(run->rt, rt_now_ns(run->rt) + 1000000000);
    if (rc == 0)
        rc = ops_sync(run->world.ops);
    if (rc == 0)
        rc = ops_setattr(run->world.ops, &(struct ops_caller){0}, OPS_ROOT, &set, &attr);
    if (rc < 0)
        trouble(run, "the last sync", rc);
    else if (plog_used(&run->world.plog) > plog_slots(0, sizeof(struct plog_times)))
        fail(run, "the P-Log keeps entries that are durable", 0);
    return rc == 0 && !run->failed;
}

static void session(struct run *run)
{
    bool successor = run->legacy.inherited;
    int rc = world_mount(&run->world);
    if (rc < 0) {
        trouble(run, run->world.err.text, rc);
        return;
    }
    if (successor && run->options->verbose)
        fprintf(stderr, "took over: %llu entries, %llu act, %llu ignore, %llu modify, %llu pages\n",
                (unsigned long long)run->world.recovered.entries, (unsigned long long)run->world.recovered.act,
                (unsigned long long)run->world.recovered.ignore, (unsigned long long)run->world.recovered.modify,
                (unsigned long long)run->world.recovered.pages);
    if (!run->made && (rc = make_directories(run)) < 0) {
        trouble(run, "making the clients' directories", rc);
        return;
    }
    if (run->crashed && !each_client(run, client_recover))
        return;
    run->crashed = false;
    if (successor && !take_over(run))
        return;

    for (uint32_t i = 0; i < run->client_count; i++)
        run->clients[i].ops_left = 10 + pick(run, 120);
    rc = clients_go(run, client_fibre);
    if (rc < 0)
        fail(run, "clients", rc);
    if (!each_client(run, client_compare) || !each_client(run, close_all))
        return;
    for (uint32_t i = 0; i < run->client_count; i++)
        run->gave_up |= run->clients[i].gave_up;
    if (run->gave_up || !log_is_given_back(run))
        return;
    rc = world_unmount(&run->world);
    if (rc < 0)
        trouble(run, "unmount", rc);
}

static void session_fibre(void *arg)
{
    struct run *run = arg;
    session(run);
    if (run->failed || run->gave_up)
        rt_sim_halt(run->world.rt);
    rt_stop(run->world.rt);
}

// --- how it ends --------------------------------------------------------------------------------------

static bool is_known(void *arg, uint32_t ino)
{
    struct run *run = arg;
    if (pick(run, 2))
        rt_sleep_until(run->rt, rt_now_ns(run->rt) + pick(run, 1000000));
    for (uint32_t i = 0; i < run->client_count; i++)
        if (client_knows(&run->clients[i], ino))
            return true;
    return false;
}

static void applied(void *arg, const struct plog_entry *entry)
{
    struct run *run = arg;
    if (entry->client >= 1 && entry->client <= run->client_count)
        client_applied(&run->clients[entry->client - 1], entry);
}

static void probe(void *arg, enum rt_probe point)
{
    struct run *run = arg;
    if (!run->kill.at_probe || point != run->kill.point || run->kill.passes-- != 0)
        return;
    run->kill.at_probe = false;
    rt_sim_halt(run->rt);
}

static void plan_kill(struct run *run)
{
    bool soon = run->legacy.inherited && pick(run, 2);      // inside the recovery
    switch (pick(run, 3)) {
    case 0:
        sim_disk_cut_after(run->disk, 1 + pick(run, soon ? 12 : 400));
        break;
    case 1:
        rt_sim_halt_after(run->rt, 1 + pick(run, soon ? 60 : 3000));
        break;
    default:
        run->kill = (struct kill){.at_probe = true, .point = soon ? RT_PROBE_RECOVERY : pick(run, RT_PROBES)};
        run->kill.passes = pick(run, run->kill.point == RT_PROBE_COMMIT || run->kill.point == RT_PROBE_CHECKPOINT ? 6 : soon ? 20 : 200);
    }
}

static void plan_fate(struct run *run, enum fate fate)
{
    run->kill = (struct kill){0};
    if (fate == FATE_CUT)
        sim_disk_cut_after(run->disk, 1 + pick(run, run->crashed && pick(run, 3) == 0 ? 12 : 400));
    if (fate == FATE_KILL)
        plan_kill(run);
}

// What a disk may do: be slow, fail once or twice, fail for good in one place.
static void plan_faults(struct run *run)
{
    uint64_t blocks = sim_disk_block_count(run->disk);
    for (uint32_t i = pick(run, 4); i > 0; i--) {
        struct fault_rule rule = {
            .ops = 1u << pick(run, 2),
            .kind = pick(run, 3) ? FAULT_FAIL : FAULT_DELAY,
            .skip = pick(run, 300),
            .shots = 1 + pick(run, 3),
            .delay_ns = 1 + pick(run, 100000000),
        };
        if (pick(run, 4) == 0) {
            rule.block_first = pick(run, (uint32_t)blocks);
            rule.block_count = MIN(1 + pick(run, 64), blocks - rule.block_first);
            rule.skip = rule.shots = 0;
        }
        if (dev_fault_add(run->world.dev, &rule) < 0)
            fail(run, "a fault", 0);
    }
}

// A server that dies of a wild store may have flipped a bit before. One in a place is put right.
static void flip_bit(struct run *run)
{
    const struct plog *log = &run->world.plog;
    uint64_t used = log->head->tail - log->head->head;
    uint8_t *place;
    if (pick(run, 2) && used && used <= log->slot_count)
        place = (uint8_t *)&log->slots[(log->head->head + pick(run, (uint32_t)used)) % log->slot_count] + pick(run, sizeof(struct plog_entry));
    else
        place = (uint8_t *)run->legacy.arena + pick(run, (uint32_t)run->legacy.page_count * PAGE_DESC_BYTES);
    *place ^= (uint8_t)(1u << pick(run, 8));
    run->flips++;
}

static void renew_legacy(struct run *run)
{
    legacy_fini(&run->legacy);
    legacy_init(&run->legacy, &run->config);
}

static void after_clean(struct run *run)
{
    renew_legacy(run);
    // Where the disk errs, data may have been lost on the way (and was, loudly): as after a power cut.
    run->crashed = run->crashed || (run->faulty && run->made);
    for (uint32_t i = 0; i < run->client_count && run->made && !run->faulty; i++)
        client_all_durable(&run->clients[i]);
    // A volume that has errors keeps what only e2fsck may touch then.
    if ((run->faulty ? judge_crashed : judge_clean)(run->disk, run->options->dir, "after a clean unmount") < 0)
        fail(run, "e2fsck after unmount", 0);
}

static void after_cut(struct run *run)
{
    if (run->options->verbose)
        fprintf(stderr, "power cut\n");
    sim_disk_power_cut(run->disk, &run->chance);
    renew_legacy(run);
    run->crashed = run->made;
    if (pick(run, 3) == 0 && judge_crashed(run->disk, run->options->dir, "after a power cut") < 0)
        fail(run, "e2fsck after a power cut", 0);
}

static void after_kill(struct run *run)
{
    if (run->options->verbose)
        fprintf(stderr, "the server dies\n");
    sim_disk_land(run->disk, &run->chance, pick(run, 2));
    run->legacy.inherited = true;
    // Nobody blames the entry under way for a death that came from outside.
    run->legacy.progress = (struct recover_progress){0};
    run->kills++;
    if (run->options->flips && pick(run, 6) == 0)
        flip_bit(run);
}

// One boot: mounts, lets the clients work, unmounts; or meets its fate somewhere in between.
static void boot(struct run *run, enum fate fate)
{
    if (world_init(&run->world, &run->config, &(struct world_door){is_known, applied, run}, run->rt, run->disk, &run->legacy) < 0) {
        fail(run, run->world.err.text, 0);
        return;
    }
    for (uint32_t i = 0; i < run->client_count; i++)
        run->clients[i].world = &run->world;
    if (run->faulty && run->faults_on && !run->crashed)
        plan_faults(run);
    plan_fate(run, fate);
    rt_set_probe(run->rt, probe, run);
    rt_spawn(run->rt, "session", session_fibre, run);
    int rc = rt_run(run->rt);
    sim_disk_cut_after(run->disk, 0);
    if (rc < 0 && rc != -ECANCELED)
        fail(run, "the loop", rc);
    if (rc < 0)
        rt_sim_abandon(run->rt);
    else
        rt_sim_halt_after(run->rt, 0);
    if (run->failed)
        return;
    if (rc == 0) {
        world_fini(&run->world);
        after_clean(run);
    } else if (fate == FATE_CUT || run->gave_up) {
        after_cut(run);
        run->gave_up = false;
    } else {
        after_kill(run);
    }
}

// --- one seed -------------------------------------------------------------------------------------

static enum fate pick_fate(struct run *run)
{
    uint32_t choice = pick(run, 8);
    if (choice == 0)
        return FATE_CLEAN;
    if (!run->options->no_kills && (choice < 6 || run->options->no_cuts))
        return FATE_KILL;
    return run->options->no_cuts ? FATE_CLEAN : FATE_CUT;
}

static void run_seed(struct run *run)
{
    uint32_t boots = 1 + pick(run, 8);
    run->config = (struct world_config){
        .page_count = 96 + pick(run, 2) * 1500,
        .buf_bytes = (uint64_t)(64 + pick(run, 2) * 4096) << 10,
        .commit_interval_ms = pick(run, 3) ? 5000 : 1 + pick(run, 300),
        .journal_data = pick(run, 6) == 0,
        .log_slots = PLOG_SLOTS_MIN + pick(run, 2) * 8192,
        .atime = (int)pick(run, 3),
    };
    run->faulty = !run->options->no_faults && pick(run, 8) == 0;
    if (run->faulty && !run->options->verbose)
        log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), "sim");       // every error is said, as it must be
    run->rt = rt_sim_create(prng_next(&run->chance));
    legacy_init(&run->legacy, &run->config);
    run->client_count = 1 + pick(run, CLIENTS_MAX);
    run->clients = xcalloc(run->client_count, sizeof(*run->clients));
    for (uint32_t i = 0; i < boots && !run->failed; i++) {
        run->faults_on = pick(run, 2) && !run->crashed;
        boot(run, pick_fate(run));
    }
    run->faults_on = false;
    // The last boot is left in peace: recovery, one more round, clean.
    if (!run->failed)
        boot(run, FATE_CLEAN);
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
        {"tap", no_argument, NULL, 't'}, {"jobs", required_argument, NULL, 'j'}, {"kept", required_argument, NULL, 'k'}, {"no-cuts", no_argument, NULL, 'n'},
        {"no-kills", no_argument, NULL, 'K'}, {"no-faults", no_argument, NULL, 'F'}, {"flips", no_argument, NULL, 'f'}, {0},
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
        case 'F': options->no_faults = true; break;
        case 'f': options->flips = true; break;
        case 'K': options->no_kills = true; break;
        case 'k': options->kept = optarg; break;
        case 'j': options->jobs = (uint32_t)MAX(1, atoi(optarg)); break;
        default:
            fprintf(stderr, "usage: sim [--seed N | --seeds A-B | --kept FILE] [--jobs N] [--no-cuts] [--no-kills] [--no-faults] [--flips] [--tap] [--verbose]\n");
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
