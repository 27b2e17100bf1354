// SPDX-License-Identifier: MIT
// stage.c - see stage.h. Time passes in slots, one a step, and the wall clock shows the slot only: so an
// operation that is executed by a successor has the time that it would have had.
#include "stage_internal.h"

#include <sys/stat.h>

#include "base/check.h"
#include "judge.h"

// --- points at which a server dies ------------------------------------------------------------------

static bool is_dead_now(struct machine *m)
{
    if (m->boot == 0 && m->counting)
        return m->points++ == m->plan->point;
    if (m->boot == 1 && m->counting)
        return m->redos++ == m->plan->redo;
    return false;
}

// What the dead server's last stores were is for the plan to say.
static void lose(struct machine *m, enum rt_probe point)
{
    bool logged = point == RT_PROBE_REPLY && plog_used(&m->world.plog) > m->used_before;
    m->out->is_reply = logged && m->answer.seq && m->committed_before == jrn_committed_tid(m->world.fs->jrn);
    if (!m->out->is_reply || m->plan->death == DEATH_PLAIN)
        return;
    m->answer = (struct ops_answer){0};
    if (m->plan->death == DEATH_ENTRY_LOST)
        memcpy(m->legacy.log, m->head_before, HEAD_BYTES);
}

static void probe(void *arg, enum rt_probe point)
{
    struct machine *m = arg;
    if (point == RT_PROBE_APPLY && m->boot == 0) {
        memcpy(m->head_before, m->legacy.log, HEAD_BYTES);
        m->used_before = plog_used(&m->world.plog);
        m->committed_before = jrn_committed_tid(m->world.fs->jrn);
    }
    if (!is_dead_now(m))
        return;
    if (m->boot == 0)
        lose(m, point);
    rt_sim_halt(m->rt);
}

static bool is_known(void *arg, uint32_t ino)
{
    struct machine *m = arg;
    for (uint32_t i = 0; i < LABELS; i++)
        if (m->objects[i].held && m->objects[i].ino == ino)
            return true;
    return m->begun && m->answer.seq && m->answer.ino == ino;
}

static void applied(void *arg, const struct plog_entry *entry)
{
    struct machine *m = arg;
    if (!m->begun || entry->client != 1 || entry->request != m->request)
        return;
    if (m->answer.seq && (m->answer.seq != entry->seq || m->answer.result != entry->result))
        fail(m, "record and log disagree", 0);
    m->answer = (struct ops_answer){
        .seq = entry->seq, .result = entry->result,
        .ino = entry->target[PLOG_SELF].ino, .generation = entry->target[PLOG_SELF].generation,
    };
}

// --- one step -----------------------------------------------------------------------------------------

static uint32_t ino_of(const struct machine *m, enum label label)
{
    return label == ROOT ? OPS_ROOT : m->objects[label].ino;
}

static bool tells_inode(enum step_kind kind)
{
    return kind == S_CREATE || kind == S_MKNOD || kind == S_MKDIR || kind == S_SYMLINK || kind == S_TMPFILE || kind == S_LINK || kind == S_LOOKUP;
}

static bool is_usable(const struct machine *m, enum label label)
{
    return label == NOBODY || label == ROOT || m->objects[label].held;
}

// The kernel sends nothing for what it has forgotten.
static bool is_sendable(const struct machine *m, const struct step *step)
{
    bool makes = tells_inode(step->kind) && step->kind != S_LINK;
    return (makes || is_usable(m, step->label)) && is_usable(m, step->parent) && is_usable(m, step->parent2);
}

static int64_t do_write(struct machine *m, const struct step *step)
{
    AUTO_FREE uint8_t *bytes = xmalloc(step->b);
    for (uint64_t i = 0; i < step->b; i++)
        bytes[i] = (uint8_t)(1 + m->at * 31 + (i >> 2));
    return ops_write(m->world.ops, ino_of(m, step->label), &(struct ops_write){
        .off = step->a, .bytes = bytes, .len = step->b, .append = step->kind == S_APPEND,
    });
}

static int64_t do_setattr(struct machine *m, const struct step *step, struct ops_attr *attr)
{
    struct ops_setattr set = {
        .set = (uint32_t)step->a, .mode = (uint32_t)step->b & 07777, .uid = (uint32_t)step->b, .gid = (uint32_t)step->b, .size = step->b,
        .atime = {step->c, 5}, .mtime = {step->c + 1, 6},
    };
    return ops_setattr(m->world.ops, &(struct ops_caller){0}, ino_of(m, step->label), &set, attr);
}

static int64_t do_setxattr(struct machine *m, const struct step *step)
{
    char value[4096];
    memset(value, 'v', sizeof(value));
    return ops_setxattr(m->world.ops, ino_of(m, step->label), step->name, step->text ? step->text : value, step->b, 0, false);
}

static int64_t do_read(struct machine *m, const struct step *step)
{
    AUTO_FREE uint8_t *bytes = xblocks(DIV_ROUND_UP(step->b, BLOCK_BYTES) + 1);
    return ops_read(m->world.ops, ino_of(m, step->label), step->a, step->b, bytes);
}

// The kernel itself refuses names for what has lost its last one.
static int64_t do_link(struct machine *m, const struct step *step, struct ops_attr *attr)
{
    int rc = ops_getattr(m->world.ops, ino_of(m, step->label), attr);
    if (rc < 0 || (attr->nlink == 0 && !m->objects[step->label].linkable))
        return rc < 0 ? rc : -ENOENT;
    ops_tag(m->world.ops, 1, m->request, &m->answer);
    return ops_link(m->world.ops, ino_of(m, step->label), ino_of(m, step->parent), name_of(step->name), attr);
}

static int64_t execute(struct machine *m, const struct step *step, struct ops_attr *attr)
{
    struct ops *ops = m->world.ops;
    struct ops_caller caller = {.uid = 1000, .gid = 1001, .umask = 022};
    struct ops_name name = name_of(step->name);
    uint32_t ino = ino_of(m, step->label), parent = ino_of(m, step->parent);
    bool created;
    switch (step->kind) {
    case S_CREATE: return ops_create(ops, &caller, parent, name, 0666, true, attr, &created);
    case S_MKNOD: return ops_mknod(ops, &caller, parent, name, S_IFCHR | 0620, 12, 345, attr);
    case S_MKDIR: return ops_mkdir(ops, &caller, parent, name, 0777, attr);
    case S_SYMLINK: return ops_symlink(ops, &caller, parent, name, name_of(step->text), attr);
    case S_TMPFILE: return ops_tmpfile(ops, &caller, parent, 0640, attr);
    case S_LINK: return do_link(m, step, attr);
    case S_UNLINK: return ops_unlink(ops, parent, name);
    case S_RMDIR: return ops_rmdir(ops, parent, name);
    case S_RENAME: return ops_rename(ops, &caller, parent, name, ino_of(m, step->parent2), name_of(step->name2), (uint32_t)step->a);
    case S_WRITE: case S_APPEND: return do_write(m, step);
    case S_FALLOCATE: return ops_fallocate(ops, ino, (int)step->c, step->a, step->b);
    case S_SETATTR: return do_setattr(m, step, attr);
    case S_SETXATTR: return do_setxattr(m, step);
    case S_REMOVEXATTR: return ops_removexattr(ops, ino, step->name);
    case S_SETFLAGS: return ops_set_flags(ops, ino, (uint32_t)step->a, NULL);
    case S_READ: return do_read(m, step);
    case S_COPY: return ops_copy_range(ops, ino, step->a, ino_of(m, step->parent2), step->a, step->b);
    case S_FSYNC: return ops_fsync(ops, ino, false);
    case S_SYNC: return ops_sync(ops);
    case S_LOOKUP: return ops_lookup(ops, parent, name, attr);
    default: return 0;
    }
}

// As the door does it: a request whose record has the answer is not executed again.
static int64_t serve(struct machine *m, const struct step *step, struct ops_attr *attr)
{
    if (!is_sendable(m, step))
        return -EBADF;
    if (!m->answer.seq) {
        if (step->kind != S_LINK)
            ops_tag(m->world.ops, 1, m->request, &m->answer);
        return execute(m, step, attr);
    }
    if (m->answer.result >= 0 && tells_inode(step->kind)) {
        int rc = ops_lookup_made(m->world.ops, m->answer.ino, m->answer.generation, attr);
        if (rc < 0)
            return rc;
    }
    return m->answer.result;
}

static void take_answer(struct machine *m, const struct step *step, int64_t rc, const struct ops_attr *attr)
{
    struct object *object = &m->objects[step->label];
    m->results[m->at] = rc;
    if (rc == 0 && step->kind != S_FORGET && tells_inode(step->kind)) {
        if (object->ino != attr->ino || object->generation != attr->generation)
            *object = (struct object){.ino = attr->ino, .generation = attr->generation};
        object->linkable = step->kind == S_TMPFILE;
        object->held++;
    }
    if (step->kind == S_FORGET && object->held) {
        uint64_t count = object->held;
        object->held = 0;
        ops_forget(m->world.ops, object->ino, count);
    }
    m->begun = false;
    m->answer = (struct ops_answer){0};
    m->at++;
}

static void go_on(struct machine *m)
{
    while (m->at < m->script->count) {
        const struct step *step = &m->script->steps[m->at];
        struct ops_attr attr = {0};
        if (!m->begun) {
            rt_sleep_until(m->rt, (m->at + 1) * SLOT_NS + SLOT_NS / 10);
            m->request++;
            m->begun = true;
        }
        if (m->boot == 0)
            m->counting = m->at >= m->script->first;
        int64_t rc = serve(m, step, &attr);
        rt_probe(m->rt, RT_PROBE_REPLY);
        take_answer(m, step, rc, &attr);
    }
    m->counting = false;
}

// --- boots --------------------------------------------------------------------------------------------

static void session(struct machine *m)
{
    bool successor = m->legacy.inherited;
    m->counting = m->boot == 1;
    int rc = world_mount(&m->world);
    if (m->boot == 1)
        m->out->entries = m->world.recovered.entries;
    if (rc < 0)
        return fail(m, m->world.err.text, rc);
    if (m->boot == 1)
        m->counting = false;
    if (successor)
        world_take_over(&m->world);
    go_on(m);
    see_all(m);
    see_space(m);
    rc = world_unmount(&m->world);
    if (rc < 0)
        fail(m, "unmount", rc);
    m->over = true;
}

static void session_fibre(void *arg)
{
    struct machine *m = arg;
    session(m);
    if (m->out->failed)
        rt_sim_halt(m->rt);
    rt_stop(m->rt);
}

static const struct {
    const char *options;
    bool journal_data;
} kinds[STAGE_KINDS] = {
    {"-O metadata_csum,64bit,^resize_inode", false},
    {"-O ^extent,^64bit,^flex_bg,^metadata_csum,^resize_inode -I 128", false},
    {"-O metadata_csum,64bit,^resize_inode,metadata_csum_seed -I 512", true},
};

static const struct world_config base_config = {
    .page_count = 64, .buf_bytes = 2 << 20, .log_slots = PLOG_SLOTS_MIN, .commit_interval_ms = 1000000000,
    .no_flusher = true, .atime = ATIME_STRICT, .latency_min_ns = 1000, .latency_max_ns = 20000,
};

static void boot(struct machine *m)
{
    if (world_init(&m->world, &m->stage->config, &(struct world_door){is_known, applied, m}, m->rt, m->disk, &m->legacy) < 0)
        return fail(m, m->world.err.text, 0);
    rt_set_probe(m->rt, probe, m);
    rt_spawn(m->rt, "session", session_fibre, m);
    int rc = rt_run(m->rt);
    if (rc == 0) {
        world_fini(&m->world);
        return;
    }
    rt_sim_abandon(m->rt);
    if (rc != -ECANCELED)
        return fail(m, "the loop", rc);
    sim_disk_land(m->disk, &m->chance, prng_below(&m->chance, 2));
    m->legacy.inherited = true;
    m->legacy.progress = (struct recover_progress){0};
}

static void step_hook(void *arg)
{
    struct machine *m = arg;
    if (is_dead_now(m)) {
        m->out->is_reply = false;
        rt_sim_halt(m->rt);
    }
}

void stage_play(struct stage *stage, const struct script *script, const struct play_plan *plan, struct play *out)
{
    struct machine *m = xcalloc(1, sizeof(*m));
    *out = (struct play){0};
    *m = (struct machine){.stage = stage, .script = script, .plan = plan, .out = out};
    prng_seed(&m->chance, plan->point * 7919ull + plan->redo);
    m->rt = stage->rt;
    rt_sim_rewind(m->rt, 1);
    m->disk = sim_disk_clone(script->old ? stage->old : stage->empty);
    sim_disk_on_step(m->disk, step_hook, m);
    m->legacy = stage->legacy;
    while (!m->over && !out->failed && m->boot < 4) {
        boot(m);
        m->boot++;
    }
    if (!out->failed && !m->over)
        fail(m, "it never ends", 0);
    out->points = m->points;
    out->redos = m->redos;
    if (!out->failed && plan->judged && judge_clean(m->disk, stage->dir, script->name) < 0)
        fail(m, "e2fsck after unmount", 0);
    sim_disk_destroy(m->disk);
    free(m);
}

// --- volumes ------------------------------------------------------------------------------------------

static struct sim_disk *volume_make(const char *dir, const char *options)
{
    char path[256], command[1024];
    struct err err = {0};
    struct sim_disk *disk;
    snprintf(path, sizeof(path), "%s/matrix-%d.img", dir, getpid());
    snprintf(command, sizeof(command),
             "E2FSPROGS_FAKE_TIME=1500000000 mke2fs -q -F -t ext4 -b 4096 %s -N 64 -J size=4 "
             "-U 01234567-89ab-cdef-0123-456789abcdef -E hash_seed=01234567-89ab-cdef-0123-456789abcdef,lazy_itable_init=0 %s 12M >/dev/null", options, path);
    if (system(command) != 0 || sim_disk_load(path, &disk, &err) < 0) {
        fprintf(stderr, "matrix: cannot make a volume: %s\n", err.text);
        exit(1);
    }
    unlink(path);
    return disk;
}

struct stage *stage_open(const char *dir, uint32_t kind)
{
    static struct script script;
    struct stage *stage = xcalloc(1, sizeof(*stage));
    struct play_plan plan = {.point = NEVER, .redo = NEVER};
    struct play play;
    stage->dir = dir;
    stage->config = base_config;
    stage->config.journal_data = kinds[kind].journal_data;
    stage->empty = volume_make(dir, kinds[kind].options);
    script_prologue(&script);
    struct machine *m = xcalloc(1, sizeof(*m));
    *m = (struct machine){.stage = stage, .script = &script, .plan = &plan, .out = &play};
    play = (struct play){0};
    m->rt = stage->rt = rt_sim_create(1);
    rt_sim_wall_step(m->rt, SLOT_NS);
    m->disk = sim_disk_clone(stage->empty);
    legacy_init(&stage->legacy, &stage->config);
    m->legacy = stage->legacy;
    boot(m);
    if (play.failed || !m->over) {
        fprintf(stderr, "matrix: the prologue failed: %s\n", play.story);
        exit(1);
    }
    stage->old = m->disk;
    free(play.seen);
    return stage;
}
