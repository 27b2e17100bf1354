// SPDX-License-Identifier: MIT
// differential_xattr.c - calls about extended attributes and ACLs.
#include "differential_make.h"

#include <string.h>
#include <sys/xattr.h>

static uint8_t value[OUT_ROOM];

struct acl_text {
    uint32_t version;
    struct {
        uint16_t tag, perm;
        uint32_t id;
    } entry[6];
};

// A valid ACL most of the time: owner, a user, the group, a group, the mask, others.
static size_t draw_acl(const struct call *call, void *out)
{
    static const uint16_t tags[] = {1, 2, 4, 8, 0x10, 0x20};
    struct acl_text *acl = out;
    uint32_t perms = call->dice[1];
    size_t count = call->dice[2] % 9 ? 6 : call->dice[2] / 9 % 7;
    acl->version = call->dice[3] % 40 ? 2 : 1;
    for (size_t i = 0; i < 6; i++, perms >>= 3) {
        acl->entry[i].tag = tags[i];
        acl->entry[i].perm = perms & 7;
        acl->entry[i].id = tags[i] == 2 || tags[i] == 8 ? 1000 + call->dice[2] % 3 : (uint32_t)-1;
    }
    if (call->dice[3] % 5 == 0) {       // no names: as good as a mode
        acl->entry[1] = acl->entry[2];
        acl->entry[2] = acl->entry[5];
        return 4 + 3 * 8;
    }
    return 4 + count * 8;
}

static const char *draw_xattr(const struct call *call, char *room)
{
    static const char *const names[] = {"user.a", "user.b", "user.c", "user.a-longer-name", "trusted.t", "security.s", "security.capability",
                                        "system.posix_acl_access", "system.posix_acl_access", "system.posix_acl_access", "system.posix_acl_default",
                                        "system.posix_acl_default", "user.", "nosuch.x", "", "system.nosuch", "user", "trusted.", "system.data", "security."};
    if (call->dice[0] % 50 == 0) {
        memset(room, 'x', 300);
        memcpy(room, "user.", 5);
        room[call->dice[0] / 50 % 2 ? 256 : 255] = '\0';
        return room;
    }
    return PICK(names, call->dice[0]);
}

static size_t draw_value(const struct call *call, const char *name, uint8_t *out)
{
    static const uint32_t lengths[] = {0, 1, 10, 40, 60, 100, 200, 1000, 3000, 3900, 4000, 4096, 65000};
    static const uint8_t capability[] = {0x01, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    if (strncmp(name, "system.posix", 12) == 0)
        return draw_acl(call, out);
    if (strcmp(name, "security.capability") == 0 && call->dice[2] % 5) {
        memcpy(out, capability, sizeof(capability));
        out[4] = (uint8_t)call->dice[1];        // the same value again moves no time on ext4; with FUSE it does
        return sizeof(capability);
    }
    size_t len = PICK(lengths, call->dice[1]);
    fill(out, len, call->dice[2]);
    return len;
}

SHARED_KIND(setxattr)
{
    char room[300];
    const char *name = draw_xattr(call, room);
    size_t len = draw_value(call, name, value);
    int flags = call->dice[3] % 8 == 0 ? XATTR_CREATE : call->dice[3] % 8 == 1 ? XATTR_REPLACE : call->dice[3] % 101 == 3 ? 3 : 0;
    if (call->dice[3] % 3 == 0)
        MAKE(fsetxattr(fd_of(call, side, 0), name, value, len, flags), "fsetxattr(slot %d, \"%s\", %zu, %d)", call->slot[0], name, len, flags);
    else if (call->dice[3] % 3 == 1)
        MAKE(setxattr(call->path[0], name, value, len, flags), "setxattr(\"%s\", \"%s\", %zu, %d)", call->path[0], name, len, flags);
    else
        MAKE(lsetxattr(call->path[0], name, value, len, flags), "lsetxattr(\"%s\", \"%s\", %zu, %d)", call->path[0], name, len, flags);
}

SHARED_KIND(getxattr)
{
    char room[300];
    const char *name = draw_xattr(call, room);
    size_t size = call->dice[1] % 4 ? 65536 : call->dice[2] % 2 ? 0 : 7;
    if (call->dice[3] % 2)
        MAKE(lgetxattr(call->path[0], name, answer->out, size), "lgetxattr(\"%s\", \"%s\", %zu)", call->path[0], name, size);
    else
        MAKE(fgetxattr(fd_of(call, side, 0), name, answer->out, size), "fgetxattr(slot %d, \"%s\", %zu)", call->slot[0], name, size);
    answer->len = answer->ret > 0 && size ? (size_t)answer->ret : 0;
}

SHARED_KIND(listxattr)
{
    // "trusted." is listed for CAP_SYS_ADMIN, of which a FUSE request says nothing but the user.
    if (call->by_fsuid && call->user->uid) {
        MAKE(0, "(no listxattr)");
        return;
    }
    size_t size = call->dice[1] % 4 ? 65536 : call->dice[2] % 2 ? 0 : 7;
    if (call->dice[3] % 2)
        MAKE(llistxattr(call->path[0], (char *)answer->out, size), "llistxattr(\"%s\", %zu)", call->path[0], size);
    else
        MAKE(flistxattr(fd_of(call, side, 0), (char *)answer->out, size), "flistxattr(slot %d, %zu)", call->slot[0], size);
    answer->len = answer->ret > 0 && size ? (size_t)answer->ret : 0;
}

SHARED_KIND(removexattr)
{
    char room[300];
    const char *name = draw_xattr(call, room);
    if (call->dice[3] % 2)
        MAKE(lremovexattr(call->path[0], name), "lremovexattr(\"%s\", \"%s\")", call->path[0], name);
    else
        MAKE(fremovexattr(fd_of(call, side, 0), name), "fremovexattr(slot %d, \"%s\")", call->slot[0], name);
}
