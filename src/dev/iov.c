// SPDX-License-Identifier: MIT
// iov.c - the bytes of a scattered request, in part and as a whole.
#include <string.h>

#include "base/check.h"
#include "dev/internal.h"

uint64_t iov_bytes(const struct iovec *iov, int iovcnt)
{
    uint64_t bytes = 0;
    for (int i = 0; i < iovcnt; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

int iov_slice(struct iovec *part, int part_max, const struct iovec *iov, int iovcnt, uint64_t off,
              uint64_t bytes_max)
{
    int count = 0;
    for (int i = 0; i < iovcnt && count < part_max && bytes_max; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        size_t len = MIN(iov[i].iov_len - off, bytes_max);
        part[count++] = (struct iovec){(char *)iov[i].iov_base + off, len};
        bytes_max -= len;
        off = 0;
    }
    return count;
}

// Visits the bytes piece by piece; `flat` is the other side of the copy.
static void copy(const struct iovec *iov, int iovcnt, uint64_t off, char *flat, uint64_t len, bool out)
{
    while (len) {
        struct iovec piece;
        CHECK(iov_slice(&piece, 1, iov, iovcnt, off, len) == 1);
        if (out)
            memcpy(flat, piece.iov_base, piece.iov_len);
        else
            memcpy(piece.iov_base, flat, piece.iov_len);
        flat += piece.iov_len;
        off += piece.iov_len;
        len -= piece.iov_len;
    }
}

void iov_gather(void *to, const struct iovec *iov, int iovcnt, uint64_t off, uint64_t len)
{
    copy(iov, iovcnt, off, to, len, true);
}

void iov_scatter(const struct iovec *iov, int iovcnt, uint64_t off, const void *from, uint64_t len)
{
    copy(iov, iovcnt, off, (char *)(uintptr_t)from, len, false);
}
