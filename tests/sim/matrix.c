// SPDX-License-Identifier: MIT
// matrix.c - the AIM matrix: every script of script.c, killed at every point, its recovery killed at
// every point of its own, and what can be seen afterwards compared with the run without a death.
//
// Each script runs in a process of its own, so that a failed CHECK is one script's verdict and the memory
// of dead servers goes with it. `matrix --only rename/live --verbose` names what fails.
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "stage.h"

#define JUDGED_ONE_IN 512u
#define FAILURES_SHOWN 3u

struct totals {
    uint64_t scripts, cases, redo_cases, lost_cases, judged, failures;
    char now[192];                  // what runs, for the verdict on a child that died
};

struct options {
    uint32_t share, shares, jobs, redo_every;
    const char *only;
    const char *dir;
    uint32_t point, redo, death, kind;
    bool tap, verbose, one, list;
};

struct matrix {
    const struct options *options;
    struct stage *stage;
    struct totals *totals;          // shared with the children
    struct script script;
    struct play reference;
    uint32_t failures;              // of this script
};

static void show_difference(const char *wanted, const char *got)
{
    while (*wanted && *got) {
        size_t w = strcspn(wanted, "\n"), g = strcspn(got, "\n");
        if (w != g || memcmp(wanted, got, w) != 0) {
            printf("    expected %.*s\n         got %.*s\n", (int)w, wanted, (int)g, got);
            return;
        }
        wanted += w + (wanted[w] == '\n');
        got += g + (got[g] == '\n');
    }
    printf("    one has more lines: expected \"%.60s\", got \"%.60s\"\n", wanted, got);
}

static void tell(struct matrix *m, const struct play_plan *plan, const struct play *play)
{
    __atomic_add_fetch(&m->totals->failures, 1, __ATOMIC_RELAXED);
    if (m->failures++ >= FAILURES_SHOWN && !m->options->verbose)
        return;
    printf("%s --point %u", m->script.name, plan->point);
    if (plan->redo != NEVER)
        printf(" --redo %u", plan->redo);
    if (plan->death)
        printf(" --death %u", plan->death);
    printf(": %s\n", play->failed ? play->story : "another volume");
    if (!play->failed)
        show_difference(m->reference.seen, play->seen ? play->seen : "");
    fflush(stdout);
}

// One case. True when it went well; `play` is the caller's to end.
static bool run_case(struct matrix *m, struct play_plan plan, struct play *play)
{
    uint64_t nth = __atomic_add_fetch(&m->totals->cases, 1, __ATOMIC_RELAXED);
    plan.judged = nth % JUDGED_ONE_IN == 0;
    m->totals->judged += plan.judged;
    snprintf(m->totals->now, sizeof(m->totals->now), "%s --point %d --redo %d --death %d", m->script.name, (int)plan.point, (int)plan.redo, (int)plan.death);
    stage_play(m->stage, &m->script, &plan, play);
    bool same = !play->failed && strcmp(play->seen, m->reference.seen) == 0;
    if (!same)
        tell(m, &plan, play);
    return same;
}

static void run_quietly(struct matrix *m, struct play_plan plan)
{
    struct play play;
    (void)run_case(m, plan, &play);
    free(play.seen);
}

// The server dies at `point`: with all its last stores, without some of them, and again while it recovers.
static void run_point(struct matrix *m, uint32_t point)
{
    struct play_plan plan = {.point = point, .redo = NEVER};
    struct play play;
    if (run_case(m, plan, &play) && m->options->redo_every) {
        for (uint32_t redo = point % m->options->redo_every; redo < play.redos; redo += m->options->redo_every) {
            m->totals->redo_cases++;
            run_quietly(m, (struct play_plan){.point = point, .redo = redo});
        }
    }
    for (plan.death = DEATH_ENTRY_LOST; play.is_reply && plan.death <= DEATH_ANSWER_LOST; plan.death++) {
        m->totals->lost_cases++;
        run_quietly(m, plan);
    }
    free(play.seen);
}

static bool run_script(struct matrix *m)
{
    const struct options *o = m->options;
    struct play_plan plan = {.point = NEVER, .redo = NEVER, .judged = m->totals->scripts % 16 == 0};
    stage_play(m->stage, &m->script, &plan, &m->reference);
    if (m->reference.failed) {
        tell(m, &plan, &m->reference);
        return false;
    }
    if (o->list)
        printf("%s: %u points\n%s", m->script.name, m->reference.points, o->verbose ? m->reference.seen : "");
    if (o->one) {
        struct play play;
        bool same = run_case(m, (struct play_plan){.point = o->point, .redo = o->redo, .death = o->death}, &play);
        if (o->verbose)
            printf("--- expected\n%s--- got\n%s", m->reference.seen, play.seen ? play.seen : "");
        return same;
    }
    for (uint32_t point = 0; point < m->reference.points && !o->list; point++)
        run_point(m, point);
    return m->failures == 0;
}

// In a process of its own.
static void run_forked(struct matrix *m)
{
    int status = 0;
    fflush(stdout);
    pid_t child = m->options->one ? 0 : fork();
    if (child == 0) {
        bool good = run_script(m);
        fflush(stdout);
        if (m->options->one)
            exit(good ? 0 : 1);
        _exit(good ? 0 : 1);
    }
    waitpid(child, &status, 0);
    m->totals->scripts++;
    if (WIFSIGNALED(status)) {
        m->totals->failures++;
        printf("%s: ended by signal %d\n", m->totals->now, WTERMSIG(status));
    }
}

static bool is_mine(const struct options *options, uint32_t nth)
{
    // Scattered, as neighbours in the list are alike.
    uint32_t hash = nth * 2654435761u;
    return (hash >> 12) % options->shares == options->share - 1;
}

static void show_progress(const struct matrix *m, uint32_t nth, uint32_t count)
{
    fprintf(stderr, "\r%u %%, %llu cases, %llu failed ", nth * 100 / count, (unsigned long long)m->totals->cases * m->options->jobs,
            (unsigned long long)m->totals->failures * m->options->jobs);
}

static void run_scripts(struct matrix *m, uint32_t job)
{
    uint32_t count = script_count();
    bool talks = job == 0 && !m->options->tap && isatty(2);
    for (uint32_t nth = job; nth < count; nth += m->options->jobs) {
        if (talks && nth % 64 == 0)
            show_progress(m, nth, count);
        if (!is_mine(m->options, nth))
            continue;
        script_make(nth, &m->script);
        if (m->options->only && strncmp(m->script.name, m->options->only, strlen(m->options->only)) != 0)
            continue;
        run_forked(m);
    }
}

static struct totals *totals_make(void)
{
    void *memory = mmap(NULL, sizeof(struct totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void add_up(struct totals *sum, const struct totals *part)
{
    sum->scripts += part->scripts;
    sum->cases += part->cases;
    sum->redo_cases += part->redo_cases;
    sum->lost_cases += part->lost_cases;
    sum->judged += part->judged;
    sum->failures += part->failures;
}

static void run_jobs(const struct options *options, struct stage *stage, struct totals *sum)
{
    struct totals *parts[16];
    for (uint32_t job = 0; job < options->jobs; job++) {
        struct matrix m = {.options = options, .stage = stage, .totals = parts[job] = totals_make()};
        fflush(stdout);
        if (options->jobs == 1) {
            run_scripts(&m, 0);
        } else if (fork() == 0) {
            run_scripts(&m, job);
            fflush(stdout);
            _exit(0);
        }
    }
    for (int status; wait(&status) > 0;)
        sum->failures += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    for (uint32_t job = 0; job < options->jobs; job++)
        add_up(sum, parts[job]);
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"share", required_argument, NULL, 's'}, {"only", required_argument, NULL, 'o'}, {"jobs", required_argument, NULL, 'j'},
        {"point", required_argument, NULL, 'p'}, {"redo", required_argument, NULL, 'r'}, {"death", required_argument, NULL, 'd'},
        {"redo-every", required_argument, NULL, 'e'}, {"tap", no_argument, NULL, 't'}, {"verbose", no_argument, NULL, 'v'},
        {"list", no_argument, NULL, 'l'}, {"kind", required_argument, NULL, 'k'}, {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 's':
            if (sscanf(optarg, "%u/%u", &o->share, &o->shares) == 2 && o->share >= 1 && o->share <= o->shares)
                break;
            goto usage;
        case 'o': o->only = optarg; break;
        case 'j': o->jobs = (uint32_t)MIN(16, MAX(1, atoi(optarg))); break;
        case 'p': o->point = (uint32_t)atoi(optarg); o->one = true; break;
        case 'r': o->redo = (uint32_t)atoi(optarg); o->one = true; break;
        case 'd': o->death = (uint32_t)atoi(optarg); o->one = true; break;
        case 'e': o->redo_every = (uint32_t)atoi(optarg); break;
        case 't': o->tap = true; break;
        case 'v': o->verbose = true; break;
        case 'l': o->list = true; break;
        case 'k': o->kind = (uint32_t)MIN(STAGE_KINDS - 1, (unsigned)atoi(optarg)); break;
        default: goto usage;
        }
    }
    return;
usage:
    fprintf(stderr, "usage: matrix [--share K/N] [--only NAME] [--jobs N] [--redo-every N] [--kind K] [--list] [--tap] [--verbose]\n"
                    "       matrix --only NAME --point P [--redo R] [--death D] [--verbose]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    struct options options = {.share = 1, .shares = 1, .jobs = 1, .redo_every = 3, .point = NEVER, .redo = NEVER};
    char dir[64];
    struct totals sum = {0};
    struct timespec from, to;

    parse(&options, argc, argv);
    // Worlds come and go: their memory is kept, not given back to be cleared again.
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    snprintf(dir, sizeof(dir), "%s/drover-matrix-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    options.dir = mkdtemp(dir);
    // What servers log about deaths on purpose is of interest one case at a time.
    if (!options.one)
        log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), "matrix");
    log_set_level(options.verbose && options.one ? LOG_DEBUG_LEVEL : LOG_ERROR_LEVEL);
    clock_gettime(CLOCK_MONOTONIC, &from);
    run_jobs(&options, stage_open(options.dir, options.kind), &sum);
    clock_gettime(CLOCK_MONOTONIC, &to);
    rmdir(dir);

    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%s%s - matrix: %llu scripts, %llu cases (%llu died again in recovery, %llu in an apply half), %llu judged by e2fsck, %llu failed, %.0f a second\n",
           options.tap ? "" : "# ", sum.failures ? "not ok" : "ok", (unsigned long long)sum.scripts, (unsigned long long)sum.cases,
           (unsigned long long)sum.redo_cases, (unsigned long long)sum.lost_cases, (unsigned long long)sum.judged,
           (unsigned long long)sum.failures, (double)sum.cases / seconds);
    return sum.failures ? 1 : 0;
}
