// SPDX-License-Identifier: MIT
// fdstore.c - see fdstore.h. The protocol by hand: datagrams of text lines, descriptors beside them.
#include "guardian/fdstore.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/log.h"
#include "guardian/deathwatch.h"
#include "guardian/guardian.h"

#define FIRST_FD 3                  // of those that are passed on
#define KEPT_MAGIC 0x646b657074ull
#define KEPT_VERSION 1u
#define DEATH_WAIT_MS 30000
#define PIDS_MAX 32
#define PID_NAME "drover-pid-"

// What the guardian knows and no descriptor tells.
struct kept {
    uint64_t magic;
    uint32_t version, bytes;
    char disk[CONTROL_PATH_MAX], mountpoint[CONTROL_PATH_MAX];
    uint64_t disk_blocks, cache_bytes;
    uint32_t generations, recoveries, kernel_dirty_kib;
    int32_t server_pid;
    bool disk_is_block_device, read_only;
};

static bool is_on(const struct guardian *g)
{
    return g->store.socket[0];
}

static void take_word(const char *name, char *out, size_t size)
{
    const char *value = getenv(name);
    if (value && strlen(value) < size)
        strcpy(out, value);
    unsetenv(name);                 // no child is meant
}

void fdstore_open(struct guardian *g)
{
    g->store = (struct fdstore){.state_fd = -1};
    take_word("NOTIFY_SOCKET", g->store.socket, sizeof(g->store.socket));
}

// --- telling the manager --------------------------------------------------------------------------

static void notify(const struct guardian *g, const char *text, int fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(g->store.socket);
    memcpy(addr.sun_path, g->store.socket, len);
    if (addr.sun_path[0] == '@')
        addr.sun_path[0] = 0;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)text, strlen(text)};
    struct msghdr msg = {.msg_name = &addr, .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len),
                         .msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    }
    AUTO_FD int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_warn("event=manager-not-told errno=%d", errno);
}

// FDPOLL=0: the kernel would wake the manager at every request on /dev/fuse.
static void put(const struct guardian *g, const char *name, int fd)
{
    char text[128];
    snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0\n", name);
    notify(g, text, fd);
}

static void drop(const struct guardian *g, const char *name)
{
    char text[128];
    snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
    notify(g, text, -1);
}

void fdstore_put_pid(struct guardian *g, const struct server *s)
{
    char name[40];
    if (!is_on(g) || !g->store.filled)
        return;
    snprintf(name, sizeof(name), PID_NAME "%d", s->pid);
    put(g, name, s->pidfd);
    fdstore_save(g);
}

void fdstore_drop_pid(struct guardian *g, int pid)
{
    char name[40];
    if (!is_on(g) || !g->store.filled)
        return;
    snprintf(name, sizeof(name), PID_NAME "%d", pid);
    drop(g, name);
}

void fdstore_save(struct guardian *g)
{
    if (!is_on(g) || !g->store.filled)
        return;
    struct kept kept = {
        .magic = KEPT_MAGIC,
        .version = KEPT_VERSION,
        .bytes = sizeof(kept),
        .disk_blocks = g->disk.block_count,
        .cache_bytes = g->cache_bytes,
        .generations = g->generations,
        .recoveries = g->recoveries,
        .kernel_dirty_kib = g->kernel_dirty_kib,
        .server_pid = g->server.pid,
        .disk_is_block_device = g->disk.is_block_device,
        .read_only = g->opt.read_only,
    };
    snprintf(kept.disk, sizeof(kept.disk), "%s", g->opt.disk);
    snprintf(kept.mountpoint, sizeof(kept.mountpoint), "%s", g->opt.mountpoint);
    if (pwrite(g->store.state_fd, &kept, sizeof(kept), 0) != (ssize_t)sizeof(kept))
        log_warn("event=state-not-kept errno=%d", errno);
}

static const char *const names[] = {"drover-state", "drover-disk", "drover-fuse", "drover-legacy"};
enum { STATE, DISK, FUSE, LEGACY, NAMES };
static_assert(ARRAY_LEN(names) == NAMES, "a name each");

void fdstore_put_all(struct guardian *g)
{
    if (!is_on(g))
        return;
    if (g->store.state_fd < 0)
        g->store.state_fd = memfd_create("drover-state", MFD_CLOEXEC);
    if (g->store.state_fd < 0) {
        log_warn("event=state-not-kept errno=%d", errno);
        return;
    }
    const int fds[] = {g->store.state_fd, g->disk.claim_fd, g->fuse_fd, g->legacy_fd};
    g->store.filled = true;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        put(g, names[i], fds[i]);
    if (g->server.pid)
        fdstore_put_pid(g, &g->server);
}

void fdstore_ready(const struct guardian *g)
{
    if (is_on(g))
        notify(g, "READY=1\n", -1);
}

void fdstore_clear(struct guardian *g)
{
    if (!is_on(g))
        return;
    const struct server *const servers[] = {&g->server, &g->standby, &g->candidate};
    for (size_t i = 0; g->store.filled && i < NAMES; i++)
        drop(g, names[i]);
    for (size_t i = 0; i < ARRAY_LEN(servers); i++)
        if (servers[i]->pid)
            fdstore_drop_pid(g, servers[i]->pid);
    g->store.filled = false;
    notify(g, "STOPPING=1\n", -1);
}

// --- taking over from a predecessor ---------------------------------------------------------------

struct found {
    int fds[NAMES];
    struct {
        int fd, pid;
    } servers[PIDS_MAX];
    size_t server_count;
};

// LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES: names with colons between, for descriptors from 3 on.
static bool find(struct found *found)
{
    char pid[16] = "", count[16] = "", list[2048] = "";
    take_word("LISTEN_PID", pid, sizeof(pid));
    take_word("LISTEN_FDS", count, sizeof(count));
    take_word("LISTEN_FDNAMES", list, sizeof(list));
    for (size_t i = 0; i < NAMES; i++)
        found->fds[i] = -1;
    found->server_count = 0;
    if (!*pid || atoi(pid) != getpid())
        return false;
    char *rest = list;
    for (int fd = FIRST_FD; fd < FIRST_FD + atoi(count); fd++) {
        const char *name = strsep(&rest, ":");
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        for (size_t i = 0; name && i < NAMES; i++)
            if (strcmp(name, names[i]) == 0)
                found->fds[i] = fd;
        if (name && strncmp(name, PID_NAME, strlen(PID_NAME)) == 0 && found->server_count < PIDS_MAX) {
            found->servers[found->server_count].pid = atoi(name + strlen(PID_NAME));
            found->servers[found->server_count++].fd = fd;
        }
    }
    return found->fds[STATE] >= 0;
}

// True when it is gone. They are no children of ours: nobody but their pidfd tells.
static bool kill_one(int pidfd)
{
    struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    return poll(&pollfd, 1, DEATH_WAIT_MS) > 0;
}

// Standbys first, or one would take over from the server.
static int kill_servers(const struct found *found, int server_pid, struct err *err)
{
    for (int last = 0; last < 2; last++) {
        for (size_t i = 0; i < found->server_count; i++) {
            if ((found->servers[i].pid == server_pid) != (last == 1))
                continue;
            if (!kill_one(found->servers[i].fd))
                return err_set(err, EBUSY, "the server %d of the last guardian does not die", found->servers[i].pid);
            close(found->servers[i].fd);
        }
    }
    return 0;
}

static int read_kept(const struct guardian *g, const struct found *found, struct kept *out, struct err *err)
{
    for (size_t i = 0; i < NAMES; i++)
        if (found->fds[i] < 0)
            return err_set(err, EINVAL, "the manager kept no %s of the last guardian's (umount -l %s, and start again)", names[i], g->opt.mountpoint);
    if (pread(found->fds[STATE], out, sizeof(*out), 0) != (ssize_t)sizeof(*out) || out->magic != KEPT_MAGIC ||
        out->version != KEPT_VERSION || out->bytes != sizeof(*out))
        return err_set(err, EPROTO, "what the manager kept of the last guardian is of another version (umount -l %s, and start again)", g->opt.mountpoint);
    out->disk[sizeof(out->disk) - 1] = out->mountpoint[sizeof(out->mountpoint) - 1] = 0;
    if (strcmp(out->disk, g->opt.disk) != 0 || strcmp(out->mountpoint, g->opt.mountpoint) != 0)
        return err_set(err, EINVAL, "what the manager kept is of another mount: %.200s on %.200s", out->disk, out->mountpoint);
    return 0;
}

static int map_legacy(struct guardian *g, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size < (off_t)BLOCK_BYTES)
        return err_set(err, EINVAL, "the memory of the last guardian is missing");
    void *header = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (header == MAP_FAILED)
        return err_set(err, errno, "cannot map the memory of the last guardian: %s", strerror(errno));
    g->legacy = header;
    g->legacy_fd = fd;
    if (g->legacy->magic != LEGACY_MAGIC || g->legacy->version != LEGACY_VERSION || g->legacy->bytes != (uint64_t)st.st_size)
        return err_set(err, EPROTO, "the memory of the last guardian is of another version (umount -l %s, and start again)", g->opt.mountpoint);
    return 0;
}

static void take(struct guardian *g, const struct found *found, const struct kept *kept)
{
    g->store.state_fd = found->fds[STATE];
    g->disk = (struct disk){.fd = -1, .claim_fd = found->fds[DISK], .block_count = kept->disk_blocks, .is_block_device = kept->disk_is_block_device};
    g->fuse_fd = found->fds[FUSE];
    g->cache_bytes = kept->cache_bytes;
    g->opt.read_only = kept->read_only;
    g->opt.plog_bytes = g->legacy->plog_bytes;
    g->kernel_dirty_kib = kept->kernel_dirty_kib;
    g->recoveries = kept->recoveries;
    g->generations = MAX(kept->generations, 1u);     // so the next is a successor
    g->mounted = true;
    g->pause_began_ns = guardian_now_ns();
    g->pause_cause = "guardian-died";
}

int fdstore_adopt(struct guardian *g, struct err *err)
{
    struct found found;
    struct kept kept;
    if (!find(&found))
        return 0;
    int rc = read_kept(g, &found, &kept, err);
    if (rc == 0)
        rc = map_legacy(g, found.fds[LEGACY], err);
    if (rc == 0)
        rc = kill_servers(&found, kept.server_pid, err);
    if (rc < 0)
        return rc;
    take(g, &found, &kept);
    struct err why = {0};
    rc = disk_adopt(g->opt.disk, g->opt.read_only, &g->disk, &why);
    if (rc < 0)
        return err_set(err, -rc, "%.200s %s", g->opt.disk, why.text);
    deathwatch_bury(&g->legacy->owner.word, 0, NULL, 0);
    g->store.filled = is_on(g);     // the manager has them still
    for (size_t i = 0; i < found.server_count; i++)
        fdstore_drop_pid(g, found.servers[i].pid);
    return 1;
}
