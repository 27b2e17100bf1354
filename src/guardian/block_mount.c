// SPDX-License-Identifier: MIT
// block_mount.c - see block_mount.h.
//
// What the table of mounts names as source must lead to the device when mount(2) looks, but people
// look for their disk there. So a child mounts in a namespace of its own, where the device's node
// lies upon the disk's name, and hands back a copy of the mount, which is attached here.
#include "guardian/block_mount.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/check.h"
#include "guardian/sys_mount.h"

#define LOOP_TRIES 16               // somebody else may take the free one first

struct result {
    int32_t rc;                     // with rc 0 comes a descriptor
    bool spent;
};

// --- the device -----------------------------------------------------------------------------------

static int claim_free_loop(int memory, char path[32])
{
    AUTO_FD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return -errno;
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0)
        return -errno;
    snprintf(path, 32, "/dev/loop%d", number);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct loop_config config = {
        .fd = (uint32_t)memory,
        .block_size = BLOCK_BYTES,
        .info = {.lo_flags = LO_FLAGS_AUTOCLEAR, .lo_file_name = "drover"},
    };
    if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

// The device lives as long as somebody has it open: first the caller, then the mount.
static int make_device(char path[32])
{
    AUTO_FD int memory = memfd_create("drover", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, BLOCK_BYTES) < 0)
        return -errno;
    int fd = -EBUSY;
    for (int i = 0; i < LOOP_TRIES && fd == -EBUSY; i++)
        fd = claim_free_loop(memory, path);
    return fd;
}

// --- the child --------------------------------------------------------------------------------------

// The copy of the mount, or a negative errno.
static int mount_apart(const struct options *opt, const char *device, const char *data, bool *spent)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(device, opt->disk, NULL, MS_BIND, NULL) < 0 ||
        mount(opt->disk, opt->mountpoint, "fuseblk.drover", opt->mount_flags, data) < 0)
        return -errno;
    *spent = true;
    int fd = open_tree(AT_FDCWD, opt->mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

union fd_room {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_result(int sock, const struct result *result, int fd)
{
    union fd_room room = {0};
    struct iovec iov = {(void *)result, sizeof(*result)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (result->rc == 0) {
        msg.msg_control = &room;
        msg.msg_controllen = sizeof(room);
        struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
        *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fd))};
        memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    }
    if (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
        _exit(1);
}

NO_RETURN static void run_child(const struct options *opt, const char *device, const char *data, int sock)
{
    struct result result = {0};
    int fd = mount_apart(opt, device, data, &result.spent);
    result.rc = fd < 0 ? fd : 0;
    send_result(sock, &result, fd);
    _exit(0);                       // its namespace goes with it
}

// --- the parent ---------------------------------------------------------------------------------------

// The descriptor, or a negative errno.
static int receive_result(int sock, bool *spent)
{
    union fd_room room = {0};
    struct result result = {.rc = -EIO, .spent = true};
    struct iovec iov = {&result, sizeof(result)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof(room)};
    ssize_t got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    if (got != (ssize_t)sizeof(result))
        return -EIO;
    *spent = result.spent;
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    if (result.rc < 0)
        return result.rc;
    if (!head || head->cmsg_type != SCM_RIGHTS)
        return -EIO;
    int fd;
    memcpy(&fd, CMSG_DATA(head), sizeof(fd));
    return fd;
}

static int mounted_by_child(const struct options *opt, const char *device, const char *data, bool *spent)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        run_child(opt, device, data, ends[1]);
    int error = errno;
    close(ends[1]);
    *spent = pid > 0;               // for all that is known, until it says otherwise
    int fd = pid < 0 ? -error : receive_result(ends[0], spent);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return fd;
}

int block_mount(const struct options *opt, const char *data, bool *spent)
{
    char device[32];
    *spent = false;
    AUTO_FD int held = make_device(device);
    if (held < 0)
        return held;
    AUTO_FD int tree = mounted_by_child(opt, device, data, spent);
    if (tree < 0)
        return tree;
    return move_mount(tree, "", AT_FDCWD, opt->mountpoint, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}
