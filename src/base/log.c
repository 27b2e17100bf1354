// SPDX-License-Identifier: MIT
// log.c - writes log lines; holds the only process-wide state of drover (where lines go).
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static struct {
    int fd;
    const char *who;
    enum log_level level;
} log_to = {.fd = STDERR_FILENO, .who = "drover", .level = LOG_INFO_LEVEL};

void log_open(int fd, const char *who)
{
    log_to.fd = fd;
    log_to.who = who;
}

void log_set_level(enum log_level level)
{
    log_to.level = level;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (level > log_to.level)
        return;

    // Not through rt: the log tells a person when it happened, no code decides by it.
    struct timespec now;
    struct tm tm;
    char line[1024];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    int len = snprintf(line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s[%d] ",
                       tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                       tm.tm_sec, now.tv_nsec / 1000000, names[level], log_to.who, getpid());
    va_list args;
    va_start(args, fmt);
    len += vsnprintf(line + len, sizeof(line) - (size_t)len - 1, fmt, args);
    va_end(args);
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len++] = '\n';
    // There is nobody left to tell when the log itself cannot be written.
    ssize_t ignored = write(log_to.fd, line, (size_t)len);
    (void)ignored;
}
