// SPDX-License-Identifier: MIT
// crash_text.h - builds text where nothing may be called: no allocation, no stdio, no locks.
//
// What does not fit is cut off. For signal handlers only; everybody else has snprintf().
#pragma once

#include <time.h>

#include "base/types.h"

struct crash_text {
    size_t len;
    char bytes[2048];
};

void crash_put(struct crash_text *text, const char *string);        // NULL: "?"
void crash_put_number(struct crash_text *text, uint64_t number);
void crash_put_hex(struct crash_text *text, uint64_t number);       // with 0x
// As log.c writes it: 2026-11-21T10:33:56.123Z
void crash_put_time(struct crash_text *text, const struct timespec *time);
// Writes it out and empties it.
void crash_text_flush(struct crash_text *text, int fd);
