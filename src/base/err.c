// SPDX-License-Identifier: MIT
// err.c - see err.h.
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *err, int number, const char *fmt, ...)
{
    if (err && err->number == 0) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
        err->number = number;
    }
    return -number;
}
