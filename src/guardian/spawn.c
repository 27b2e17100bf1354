// SPDX-License-Identifier: MIT
// spawn.c - starts a server: a handoff in a memfd, the descriptors it needs, and nothing else.
#include "guardian/guardian.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "guardian/handoff.h"

#ifndef DROVER_LIBEXECDIR
#define DROVER_LIBEXECDIR "/usr/libexec/drover"
#endif

static int find(char out[CONTROL_PATH_MAX], struct err *err)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[len > 0 ? len : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    // Installed beside us, or in a build tree.
    const char *const forms[] = {"%s/drover-server", "%s/../server/drover-server"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char *path = NULL;
        if (asprintf(&path, forms[i], self) < 0)
            continue;
        bool found = strlen(path) < CONTROL_PATH_MAX && access(path, X_OK) == 0;
        if (found)
            strcpy(out, path);
        free(path);
        if (found)
            return 0;
    }
    strcpy(out, DROVER_LIBEXECDIR "/drover-server");
    if (access(out, X_OK) == 0)
        return 0;
    return err_set(err, ENOENT, "the program drover-server is not in %s nor in %s (install it)", self, DROVER_LIBEXECDIR);
}

int spawn_find_server(char out[CONTROL_PATH_MAX], struct err *err)
{
    int rc = find(out, err);
    if (rc < 0)
        return rc;
    int fd = open(out, O_PATH | O_CLOEXEC);
    return fd < 0 ? err_set(err, errno, "%.300s cannot be opened: %s", out, strerror(errno)) : fd;
}

static void fill_handoff(const struct guardian *g, int link_fd, bool standby, struct handoff *out)
{
    *out = (struct handoff){
        .magic = HANDOFF_MAGIC,
        .version = HANDOFF_VERSION,
        .bytes = sizeof(*out),
        .generation = g->generations,
        .standby = standby,
        .uid = g->uid,
        .gid = g->gid,
        .drop_privileges = g->drop_privileges,
        .must_drop = g->must_drop,
        .read_only = g->opt.read_only,
        .journal_data = g->opt.journal_data,
        .disk_is_block_device = g->disk.is_block_device,
        .atime = g->opt.atime,
        .fuse_fd = g->fuse_fd,
        .disk_fd = g->disk.fd,
        .ring_fd = g->ring.fd,
        .legacy_fd = g->legacy_fd,
        .log_fd = g->log_fd,
        .link_fd = link_fd,
        .relay_fd = g->relay_fd,
        .relay_pid = g->relay_pid,
        .disk_blocks = g->disk.block_count,
        .cache_bytes = g->cache_bytes / 4,
        .spin_ns = g->opt.spin_us * 1000,
    };
    static_assert(sizeof(out->ring_params) >= sizeof(g->ring.params), "the kernel's struct fits");
    memcpy(out->ring_params, &g->ring.params, sizeof(g->ring.params));
    snprintf(out->disk, sizeof(out->disk), "%s", g->opt.disk);
}

static int make_handoff(const struct guardian *g, int link_fd, bool standby)
{
    struct handoff handoff;
    fill_handoff(g, link_fd, standby, &handoff);
    int fd = memfd_create("drover-handoff", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, &handoff, sizeof(handoff)) == (ssize_t)sizeof(handoff))
        return fd;
    int error = errno ? errno : EIO;
    close(fd);
    return -error;
}

static void inherit(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
}

// Between fork and exec: system calls only.
NO_RETURN static void become_server(const struct guardian *g, int program_fd, int handoff_fd, int link_fd)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // The guardian must not be chosen when memory runs out; a server can be replaced.
    int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (oom >= 0 && write(oom, "0", 1) < 0)
        close(oom);
    // Not the terminal of `drover mount`, nor the pipe of a script that waits for its end. What the
    // C library or a sanitizer has to say goes to the log.
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(g->log_fd, STDERR_FILENO);
    const int fds[] = {handoff_fd, link_fd, g->fuse_fd, g->disk.fd, g->ring.fd, g->legacy_fd, g->log_fd, g->relay_fd,
                       program_fd};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        inherit(fds[i]);
    char number[16];
    snprintf(number, sizeof(number), "%d", handoff_fd);
    char *argv[] = {"drover-server", "--handoff", number, NULL};
    syscall(SYS_execveat, program_fd, "", argv, environ, AT_EMPTY_PATH);
    _exit(127);
}

static int start(struct guardian *g, struct server *out, int program_fd, int handoff_fd, int link[2])
{
    pid_t pid = fork();
    if (pid == 0)
        become_server(g, program_fd, handoff_fd, link[1]);
    if (pid < 0)
        return -errno;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int error = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return -error;
    }
    fcntl(pidfd, F_SETFD, FD_CLOEXEC);
    *out = (struct server){
        .state = SERVER_STARTING,
        .pid = pid,
        .pidfd = pidfd,
        .link_fd = link[0],
        .generation = g->generations,
        .received_before = g->legacy->received,
        .answered_before = g->legacy->answered,
        .looked_ns = guardian_now_ns(),
        .since_ns = guardian_now_ns(),
    };
    return 0;
}

static int spawn(struct guardian *g, struct server *out, int program_fd, bool standby)
{
    int link[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link) < 0)
        return -errno;
    g->generations++;
    int handoff_fd = make_handoff(g, link[1], standby);
    int rc = handoff_fd < 0 ? handoff_fd : start(g, out, program_fd, handoff_fd, link);
    close(link[1]);
    if (rc < 0)
        close(link[0]);
    if (handoff_fd >= 0)
        close(handoff_fd);
    return rc;
}

int spawn_server(struct guardian *g)
{
    g->legacy->beat_ns = 0;
    int rc = spawn(g, &g->server, g->server_fd, false);
    if (rc < 0)
        return rc;
    log_info("event=server-started generation=%u pid=%d", g->server.generation, g->server.pid);
    fdstore_put_pid(g, &g->server);
    return 0;
}

int spawn_standby(struct guardian *g, struct server *out, int program_fd)
{
    int rc = spawn(g, out, program_fd, true);
    if (rc < 0)
        return rc;
    log_info("event=standby-started generation=%u pid=%d", out->generation, out->pid);
    fdstore_put_pid(g, out);
    return 0;
}
