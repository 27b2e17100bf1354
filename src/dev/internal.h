// SPDX-License-Identifier: MIT
// internal.h - what the files of src/dev share: parts of requests, and the start of a filter.
#pragma once

#include "dev/dev.h"

// Copies `len` bytes that begin `off` bytes into the iov, which is long enough.
void iov_gather(void *to, const struct iovec *iov, int iovcnt, uint64_t off, uint64_t len);
void iov_scatter(const struct iovec *iov, int iovcnt, uint64_t off, const void *from, uint64_t len);
// Fills `part` (of `part_max` entries) with the bytes from `off` on: all of them, or as many as
// fit into the entries and into `bytes_max`. Returns how many entries it used.
int iov_slice(struct iovec *part, int part_max, const struct iovec *iov, int iovcnt, uint64_t off,
              uint64_t bytes_max);

// The base of a filter on `below`: as large, as writable, and of the same label.
struct dev dev_on(const struct dev_ops *ops, struct dev *below);
