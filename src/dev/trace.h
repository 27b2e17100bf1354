// SPDX-License-Identifier: MIT
// trace.h - a filter that counts what passes and, on request, logs it.
#pragma once

#include "dev/dev.h"

struct trace_counts {
    uint64_t reads, writes, flushes, discards;          // requests, failed ones too
    uint64_t blocks_read, blocks_written, fua_writes;   // asked for
    uint64_t errors;                                    // requests that failed
    uint32_t under_way, under_way_max;
};

// `below` is borrowed and outlives the filter. `log`: one debug line for each request.
struct dev *dev_trace_create(struct dev *below, bool log);
const struct trace_counts *dev_trace_counts(const struct dev *trace);
void dev_trace_reset(struct dev *trace);        // all but under_way
