// SPDX-License-Identifier: MIT
// log.h - four words for what happened; one event is one line of key=value pairs.
//
// error: a person must act. warn: drover coped. info: start, mount, recovery, take-over.
// debug: for developers, off unless asked for. The site that discovers a fault logs it, once.
#pragma once

#include "base/types.h"

enum log_level { LOG_ERROR_LEVEL, LOG_WARN_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };

// Lines go to `fd` (standard error until then), each with time, level and `who`, which is
// borrowed for ever. One write(2) a line, so that lines of several processes do not mix.
void log_open(int fd, const char *who);
void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR_LEVEL, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN_LEVEL, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO_LEVEL, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG_LEVEL, __VA_ARGS__)
