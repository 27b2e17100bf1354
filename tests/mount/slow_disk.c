// SPDX-License-Identifier: MIT
// slow_disk.c - a disk whose writes take long, each its own time, many at once; and that remembers when.
//
//     slow_disk BACKING TARGET LOG MILLISECONDS
//
// Serves the file BACKING as the file TARGET (a FUSE mount whose root is a file, spoken without any library).
// A write reaches BACKING only at the end of its time, so what a dead process had under way really lands late.
// SIGUSR1 holds all writes under way, SIGUSR2 lets them go on. LOG gets a line for each event, as it happens:
//
//     begin|end|read|sync|hold|release  NANOSECONDS(monotonic)  NUMBER  OFFSET  LENGTH
//
// An "end" is written before the disk answers: whoever knows of an end can find it there.
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "base/types.h"

#define THREADS 96u                 // as many requests are under way at once
#define WRITE_MAX (128u << 10)
#define ROOM (WRITE_MAX + 4096)

static struct disk {
    int fuse_fd, backing_fd, log_fd;
    uint64_t delay_ns;
    pthread_mutex_t lock;
    pthread_cond_t released;
    bool held;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER};

static void note(const char *what, uint64_t number, uint64_t off, uint64_t len)
{
    char line[128];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int bytes = snprintf(line, sizeof(line), "%s %llu %llu %llu %llu\n", what, (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec,
                         (unsigned long long)number, (unsigned long long)off, (unsigned long long)len);
    if (write(disk.log_fd, line, (size_t)bytes) != bytes)
        perror("slow_disk: log");
}

static void answer(uint64_t unique, int error, const void *bytes, size_t len)
{
    struct fuse_out_header head = {.len = (uint32_t)(sizeof(head) + len), .error = error, .unique = unique};
    struct iovec iov[] = {{&head, sizeof(head)}, {(void *)bytes, len}};
    if (writev(disk.fuse_fd, iov, len ? 2 : 1) < 0 && errno != ENOENT && errno != ENODEV)
        perror("slow_disk: answer");
}

static void take_time(uint64_t number)
{
    // Not all the same, so that they do not end in the order in which they began.
    uint64_t ns = disk.delay_ns + number * 7919 % 8 * disk.delay_ns / 8;
    struct timespec time = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    nanosleep(&time, NULL);
    pthread_mutex_lock(&disk.lock);
    while (disk.held)
        pthread_cond_wait(&disk.released, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
}

static void serve_write(const struct fuse_in_header *in, const uint8_t *body)
{
    const struct fuse_write_in *ask = (const void *)body;
    note("begin", in->unique, ask->offset, ask->size);
    take_time(in->unique);
    ssize_t done = pwrite(disk.backing_fd, ask + 1, ask->size, (off_t)ask->offset);
    note("end", in->unique, ask->offset, ask->size);
    struct fuse_write_out out = {.size = done < 0 ? 0 : (uint32_t)done};
    answer(in->unique, done < 0 ? -errno : 0, &out, done < 0 ? 0 : sizeof(out));
}

static void serve_read(const struct fuse_in_header *in, const struct fuse_read_in *ask, uint8_t *room)
{
    uint64_t off = ask->offset, size = MIN(ask->size, ROOM);
    note("read", in->unique, off, size);
    ssize_t done = pread(disk.backing_fd, room, size, (off_t)off);
    answer(in->unique, done < 0 ? -errno : 0, room, done < 0 ? 0 : (size_t)done);
}

static void serve_attr(const struct fuse_in_header *in)
{
    struct stat st;
    fstat(disk.backing_fd, &st);
    struct fuse_attr_out out = {.attr_valid = 1000, .attr = {
        .ino = FUSE_ROOT_ID, .size = (uint64_t)st.st_size, .blocks = (uint64_t)st.st_size / 512,
        .mode = S_IFREG | 0600, .nlink = 1, .blksize = 4096,
    }};
    answer(in->unique, 0, &out, sizeof(out));
}

static void serve_init(const struct fuse_in_header *in)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION, .minor = 38,
        .flags = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_BIG_WRITES | FUSE_MAX_PAGES,
        .max_background = THREADS, .congestion_threshold = THREADS,
        .max_write = WRITE_MAX, .max_pages = WRITE_MAX / 4096, .time_gran = 1,
    };
    answer(in->unique, 0, &out, sizeof(out));
}

static void serve(const struct fuse_in_header *in, uint8_t *room)
{
    const uint8_t *body = (const uint8_t *)(in + 1);
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
    switch (in->opcode) {
    case FUSE_INIT: serve_init(in); return;
    case FUSE_GETATTR: case FUSE_SETATTR: serve_attr(in); return;
    case FUSE_OPEN: answer(in->unique, 0, &opened, sizeof(opened)); return;
    case FUSE_READ: serve_read(in, (const void *)body, room); return;
    case FUSE_WRITE: serve_write(in, body); return;
    case FUSE_FSYNC: note("sync", in->unique, 0, 0); answer(in->unique, 0, NULL, 0); return;
    case FUSE_FLUSH: case FUSE_RELEASE: case FUSE_DESTROY: answer(in->unique, 0, NULL, 0); return;
    case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: return;      // they want no answer
    default: answer(in->unique, -ENOSYS, NULL, 0); return;
    }
}

static void *work(void *arg)
{
    (void)arg;
    uint8_t *ask = malloc(ROOM), *room = malloc(ROOM);
    for (;;) {
        ssize_t len = read(disk.fuse_fd, ask, ROOM);
        if (len < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN)
            _exit(errno == ENODEV ? 0 : 1);             // unmounted
        if (len >= (ssize_t)sizeof(struct fuse_in_header))
            serve((const void *)ask, room);
    }
}

static void set_held(bool held)
{
    pthread_mutex_lock(&disk.lock);
    disk.held = held;
    note(held ? "hold" : "release", 0, 0, 0);
    pthread_cond_broadcast(&disk.released);
    pthread_mutex_unlock(&disk.lock);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    disk.backing_fd = open(argv[1], O_RDWR | O_CLOEXEC);
    disk.log_fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    disk.delay_ns = strtoull(argv[4], NULL, 10) * 1000000;
    disk.fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[128];
    snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0,allow_other", disk.fuse_fd);
    if (disk.backing_fd < 0 || disk.log_fd < 0 || disk.fuse_fd < 0 || mount("slow-disk", argv[2], "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
        perror("slow_disk");
        return 1;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pthread_t thread;
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, work, NULL) != 0)
            return 1;
    for (int sig; sigwait(&set, &sig) == 0;)
        set_held(sig == SIGUSR1);
    return 1;
}
