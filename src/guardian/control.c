// SPDX-License-Identifier: MIT
// control.c - the clients' half of control.h, and the names both halves agree on.
#include "guardian/control.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/crc32c.h"

#define ID_MAX 80

const char *const control_point_names[CONTROL_POINTS + 1] = {
    [CONTROL_POINT_PLAN] = "plan", [CONTROL_POINT_APPLY] = "apply", [CONTROL_POINT_REPLY] = "reply",
    [CONTROL_POINT_COMMIT] = "commit", [CONTROL_POINT_CHECKPOINT] = "checkpoint", [CONTROL_POINT_RECOVERY] = "recovery",
};
const char *const control_region_names[CONTROL_REGIONS + 1] = {
    [CONTROL_HEAP] = "heap", [CONTROL_METADATA] = "metadata", [CONTROL_PLOG] = "plog", [CONTROL_DATA] = "data",
    [CONTROL_STACK] = "stack", [CONTROL_DESCRIPTORS] = "descriptors",
};
const double control_bucket_ms[CONTROL_BUCKETS] = {1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000, 10000, INFINITY};

void control_dir(char out[CONTROL_DIR_MAX])
{
    const char *named = getenv("DROVER_RUN_DIR"), *runtime = getenv("XDG_RUNTIME_DIR");
    if (named && strlen(named) < 90)
        snprintf(out, CONTROL_DIR_MAX, "%s", named);
    else if (geteuid() == 0 && access("/run", W_OK) == 0)
        snprintf(out, CONTROL_DIR_MAX, "/run/drover");
    else if (runtime && strlen(runtime) < 60)
        snprintf(out, CONTROL_DIR_MAX, "%s/drover", runtime);
    else
        snprintf(out, CONTROL_DIR_MAX, "/tmp/drover-%u", geteuid());
}

int control_dir_make(char out[CONTROL_DIR_MAX], struct err *err)
{
    control_dir(out);
    if (mkdir(out, 0755) < 0 && errno != EEXIST)
        return err_set(err, errno, "cannot make %s: %s (set DROVER_RUN_DIR to another directory)", out, strerror(errno));
    struct stat st;
    // In /tmp somebody else could have been first.
    if (lstat(out, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return err_set(err, EPERM, "%s is not a directory of ours alone (set DROVER_RUN_DIR to another one)", out);
    return 0;
}

// Slashes become dashes; whatever is not plain becomes \xNN, so that no two paths share a name.
static void make_id(const char *mountpoint, char out[ID_MAX + 1])
{
    const char *path = mountpoint + strspn(mountpoint, "/");
    size_t len = 0;
    if (!*path)
        out[len++] = '-';
    for (const char *p = path; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                     (c == '.' && p != path);
        char word[8];
        int size = c == '/' ? snprintf(word, sizeof(word), "-")
                 : plain    ? snprintf(word, sizeof(word), "%c", c)
                            : snprintf(word, sizeof(word), "\\x%02x", c);
        if (len + (size_t)size > ID_MAX - 9) {      // too long for a socket's name: a digest ends it
            len += (size_t)snprintf(out + len, 10, ".%08x", crc32c(~0u, mountpoint, strlen(mountpoint)));
            break;
        }
        memcpy(out + len, word, (size_t)size);
        len += (size_t)size;
    }
    out[len] = 0;
}

void control_path(const char *mountpoint, const char *suffix, char out[CONTROL_PATH_MAX])
{
    char dir[CONTROL_DIR_MAX], id[ID_MAX + 1];
    control_dir(dir);
    make_id(mountpoint, id);
    snprintf(out, CONTROL_PATH_MAX, "%s/%s%s", dir, id, suffix);
}

int control_connect(const char *socket_path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    strcpy(addr.sun_path, socket_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

int control_send(int fd, enum control_op op)
{
    struct control_ask ask = {.magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .op = op};
    return send(fd, &ask, sizeof(ask), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int control_send_inject(int fd, const struct control_inject *inject)
{
    struct {
        struct control_ask ask;
        struct control_inject inject;
    } packet = {{.magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .op = CONTROL_INJECT}, *inject};
    static_assert(sizeof(packet) == sizeof(packet.ask) + sizeof(packet.inject), "one behind the other");
    return send(fd, &packet, sizeof(packet), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int control_receive(int fd, int timeout_ms, struct control_answer *answer, char *text)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    int ready;
    do
        ready = poll(&pollfd, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return ready < 0 ? -errno : -ETIMEDOUT;

    char spare[1];
    struct iovec iov[2] = {{answer, sizeof(*answer)}, {text ? text : spare, text ? CONTROL_TEXT_MAX : 0}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t got = recvmsg(fd, &msg, 0);
    if (got <= 0)
        return got < 0 ? -errno : -EPIPE;
    if ((size_t)got < sizeof(*answer) || answer->magic != CONTROL_MAGIC || answer->version != CONTROL_VERSION)
        return -EPROTO;
    size_t text_len = text ? MIN((size_t)got - sizeof(*answer), (size_t)CONTROL_TEXT_MAX - 1) : 0;
    if (text)
        text[text_len] = 0;
    answer->text_len = (uint32_t)text_len;
    answer->state.disk[CONTROL_PATH_MAX - 1] = 0;
    answer->state.mountpoint[CONTROL_PATH_MAX - 1] = 0;
    answer->state.log[CONTROL_PATH_MAX - 1] = 0;
    return 0;
}
