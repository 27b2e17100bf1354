// SPDX-License-Identifier: MIT
// err.h - an error of the control path: a number for programs and a sentence for a person.
//
// The data path returns plain negative errnos. Mounting, configuration and start-up also fill one
// of these at the place that knows why; callers pass it on and the command prints it:
// `drover: what: why (what to do)`.
#pragma once

#include "base/types.h"

struct err {
    int number;            // positive errno, 0 while nothing went wrong
    char text[512];
};

// Fills `err` (which may be NULL) unless it holds an earlier, more precise sentence.
// Returns -number, so a site can say `return err_set(err, EINVAL, "...")`.
int err_set(struct err *err, int number, const char *fmt, ...) PRINTF_LIKE(3, 4);
