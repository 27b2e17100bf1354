// SPDX-License-Identifier: MIT
// work.c - one piece of work on a directory; prints how many units it did in how many seconds.
//
//   work NAME DIR        "units seconds"; the unit is the operation, or the MiB for sequential work
//
// The same program runs on every filesystem that is compared. Preparation is not timed.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <leveldb/c.h>
#include <sqlite3.h>

#define MIB (1u << 20)
#define FILE_MIB 256u
#define FILES 5000
#define RANDOM_OPS 20000
#define DIRECT_OPS 5000
#define LEVELDB_KEYS 100000

static double started;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static void start(void)
{
    started = now();
}
static void done(double units)
{
    printf("%.0f %.6f\n", units, now() - started);
}
static void must(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "work: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static char *buffer_new(size_t size)
{
    char *buffer = aligned_alloc(4096, size);
    for (size_t i = 0; i < size; i++)
        buffer[i] = (char)(i * 2654435761u >> 24);
    return buffer;
}

static int file_open(int flags)
{
    int fd = open("bench.dat", O_CREAT | flags, 0644);
    must(fd >= 0, "open");
    return fd;
}

static void file_prepare(void)
{
    char *buffer = buffer_new(MIB);
    int fd = file_open(O_RDWR);
    for (unsigned i = 0; i < FILE_MIB; i++)
        must(pwrite(fd, buffer, MIB, (off_t)i * MIB) == MIB, "prepare");
    must(fsync(fd) == 0, "fsync");
    close(fd);
    free(buffer);
}

static void seq_write(void)
{
    char *buffer = buffer_new(MIB);
    unlink("bench.dat");
    int fd = file_open(O_RDWR);
    start();
    for (unsigned i = 0; i < FILE_MIB; i++)
        must(write(fd, buffer, MIB) == MIB, "write");
    must(fsync(fd) == 0, "fsync");
    done(FILE_MIB);
}

static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
    sync();
    if (fd >= 0 && write(fd, "3", 1) != 1)
        fprintf(stderr, "work: caches could not be dropped\n");
    close(fd);
}

static void seq_read_pass(int cold)
{
    char *buffer = buffer_new(MIB);
    file_prepare();
    int fd = file_open(O_RDWR);
    if (cold)
        drop_caches();
    start();
    for (unsigned i = 0; i < FILE_MIB; i++)
        must(read(fd, buffer, MIB) == MIB, "read");
    done(FILE_MIB);
}
static void seq_read_cold(void) { seq_read_pass(1); }
static void seq_read_cached(void) { seq_read_pass(0); }

static void random_io(int flags, int writing, int count)
{
    char *buffer = buffer_new(4096);
    unsigned seed = 42;
    file_prepare();
    int fd = file_open(O_RDWR | flags);
    start();
    for (int i = 0; i < count; i++) {
        off_t at = (off_t)(rand_r(&seed) % (FILE_MIB * 256)) * 4096;
        ssize_t n = writing ? pwrite(fd, buffer, 4096, at) : pread(fd, buffer, 4096, at);
        must(n == 4096, "random");
    }
    done(count);
    must(fsync(fd) == 0, "fsync");
}
static void rand_read_cached(void) { random_io(0, 0, RANDOM_OPS); }
static void rand_write_cached(void) { random_io(0, 1, RANDOM_OPS); }
static void rand_read_direct(void) { random_io(O_DIRECT, 0, DIRECT_OPS); }
static void rand_write_direct(void) { random_io(O_DIRECT, 1, DIRECT_OPS); }

static void each_file(int (*fn)(const char *name, int i), const char *what)
{
    char name[64];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "d%d/file%d", i % 10, i);
        must(fn(name, i) == 0, what);
    }
}
static int create_one(const char *name, int i)
{
    (void)i;
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
    return fd < 0 || write(fd, name, 20) != 20 ? -1 : close(fd);
}
static int stat_one(const char *name, int i)
{
    (void)i;
    struct stat st;
    return stat(name, &st);
}
static int open_one(const char *name, int i)
{
    (void)i;
    int fd = open(name, O_RDONLY);
    return fd < 0 ? -1 : close(fd);
}
static int rename_one(const char *name, int i)
{
    char to[80];
    snprintf(to, sizeof(to), "d%d/renamed%d", (i + 1) % 10, i);
    return rename(name, to);
}
static void make_dirs(void)
{
    char name[16];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        must(mkdir(name, 0755) == 0, "mkdir");
    }
}
static void meta_create(void)
{
    make_dirs();
    start();
    each_file(create_one, "create");
    done(FILES);
}
static void meta_timed(int (*fn)(const char *name, int i), const char *what)
{
    make_dirs();
    each_file(create_one, "create");
    start();
    each_file(fn, what);
    done(FILES);
}
static int unlink_one(const char *name, int i)
{
    (void)i;
    return unlink(name);
}
static void meta_stat(void) { meta_timed(stat_one, "stat"); }
static void meta_open(void) { meta_timed(open_one, "open"); }
static void meta_rename(void) { meta_timed(rename_one, "rename"); }
static void meta_unlink(void) { meta_timed(unlink_one, "unlink"); }

static void fsync_small(void)
{
    int fd = file_open(O_RDWR);
    start();
    for (int i = 0; i < 200; i++) {
        must(pwrite(fd, "some bytes of a log", 19, i * 19) == 19, "write");
        must(fsync(fd) == 0, "fsync");
    }
    done(200);
}

static void sql(sqlite3 *db, const char *text)
{
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "work: sqlite: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
}
static void sqlite_load(void)
{
    sqlite3 *db;
    char text[200];
    must(sqlite3_open("bench.db", &db) == SQLITE_OK, "sqlite");
    sql(db, "pragma journal_mode=wal; create table t(i integer primary key, v text);");
    start();
    for (int batch = 0; batch < 200; batch++) {
        sql(db, "begin");
        for (int i = 0; i < 50; i++) {
            snprintf(text, sizeof(text), "insert into t(v) values('%d some text that takes room %d')", i * 7919, batch);
            sql(db, text);
        }
        sql(db, "commit");
    }
    done(200 * 50);
    sqlite3_close(db);
}

static int leveldb_key(int i, char key[32])
{
    return snprintf(key, 32, "key%012d", (int)((i * 2654435761u) % 1000000));
}

static void leveldb_load(void)
{
    char *err = NULL, key[32], value[100];
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_create_if_missing(options, 1);
    leveldb_t *db = leveldb_open(options, "ldb", &err);
    must(!err, "leveldb");
    leveldb_writeoptions_t *write_options = leveldb_writeoptions_create();
    memset(value, 'v', sizeof(value));
    start();
    for (int i = 0; i < LEVELDB_KEYS; i++) {
        int len = leveldb_key(i, key);
        leveldb_put(db, write_options, key, (size_t)len, value, sizeof(value), &err);
        must(!err, "leveldb put");
    }
    leveldb_close(db);
    done(LEVELDB_KEYS);
}

// For the demonstration: whatever leveldb-load has put is there, checksums and all.
static void leveldb_check(void)
{
    char *err = NULL, key[32], expected[100];
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_paranoid_checks(options, 1);
    leveldb_t *db = leveldb_open(options, "ldb", &err);
    must(!err, "leveldb");
    leveldb_readoptions_t *read_options = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(read_options, 1);
    memset(expected, 'v', sizeof(expected));
    start();
    for (int i = 0; i < LEVELDB_KEYS; i++) {
        size_t size = 0;
        int len = leveldb_key(i, key);
        char *value = leveldb_get(db, read_options, key, (size_t)len, &size, &err);
        must(!err && value && size == sizeof(expected) && memcmp(value, expected, size) == 0, "leveldb get");
        leveldb_free(value);
    }
    leveldb_close(db);
    done(LEVELDB_KEYS);
}

static const struct {
    const char *name;
    void (*run)(void);
} works[] = {
    {"seq-write-fsync", seq_write}, {"seq-read-cold", seq_read_cold}, {"seq-read-cached", seq_read_cached},
    {"rand-read-cached", rand_read_cached}, {"rand-write-cached", rand_write_cached},
    {"rand-read-direct", rand_read_direct}, {"rand-write-direct", rand_write_direct},
    {"create", meta_create}, {"stat", meta_stat}, {"open", meta_open}, {"rename", meta_rename}, {"unlink", meta_unlink},
    {"write-fsync-small", fsync_small}, {"sqlite-wal", sqlite_load}, {"leveldb-load", leveldb_load},
    {"leveldb-check", leveldb_check},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof(works) / sizeof(*works); i++) {
        if (strcmp(works[i].name, argv[1]) == 0) {
            must(chdir(argv[2]) == 0, argv[2]);
            works[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: work NAME DIR, NAME one of:");
    for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++)
        fprintf(stderr, " %s", works[i].name);
    fputc('\n', stderr);
    return 2;
}
