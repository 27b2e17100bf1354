// SPDX-License-Identifier: MIT
// relay.c - see relay.h.
#include "guardian/relay.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "guardian/link.h"
#include "guardian/sys_mount.h"

// close_range(2) is newer than some C libraries; the descriptors are few.
static void close_all_but(int a, int b)
{
    for (int fd = 0; fd < 256; fd++)
        if (fd != a && fd != b)
            close(fd);
}

// By way of a copy of the mount, which nobody else sees: so the mount itself is not in use, and
// umount(2) does not fail for that.
static int sync_mount(const char *mountpoint)
{
    AUTO_FD int tree = open_tree(AT_FDCWD, mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return -errno;
    AUTO_FD int root = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root < 0 || syncfs(root) < 0 ? -errno : 0;
}

// Every message is written, whatever became of those before it.
static int write_all(int fuse_fd, const uint8_t *bytes, size_t room)
{
    int rc = 0;
    for (uint32_t len; room >= sizeof(len); bytes += len, room -= len) {
        memcpy(&len, bytes, sizeof(len));
        if (len < sizeof(len) || len > room)
            return -EINVAL;
        if (write(fuse_fd, bytes, len) < 0 && (rc == 0 || rc == -ENOENT))
            rc = -errno;
    }
    return rc;
}

static int obey(const struct relay_ask *ask, size_t room, int fuse_fd, const char *mountpoint)
{
    if (ask->len == 0)
        return sync_mount(mountpoint);
    return write_all(fuse_fd, ask->bytes, MIN(ask->len, room));
}

NO_RETURN static void run(int fuse_fd, const char *mountpoint, int sock)
{
    prctl(PR_SET_NAME, "drover-relay");
    close_all_but(fuse_fd, sock);
    if (chdir("/") < 0)
        _exit(1);
    // Ctrl-C in the terminal of a foreground guardian must not end it before the guardian does.
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    for (;;) {
        struct relay_ask ask;
        ssize_t got = recv(sock, &ask, sizeof(ask), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < (ssize_t)offsetof(struct relay_ask, bytes))
            _exit(0);
        size_t room = (size_t)got - offsetof(struct relay_ask, bytes);
        struct relay_answer answer = {.tag = ask.tag, .rc = obey(&ask, room, fuse_fd, mountpoint)};
        // Without waiting: a server that died with its answers unread must not stop its successor's.
        if (ask.tag)
            send(sock, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

int relay_start(int fuse_fd, const char *mountpoint, int *server_end)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        int error = errno;
        close(ends[0]);
        close(ends[1]);
        return -error;
    }
    if (pid == 0)
        run(fuse_fd, mountpoint, ends[1]);
    close(ends[1]);
    *server_end = ends[0];
    return pid;
}
