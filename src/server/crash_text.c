// SPDX-License-Identifier: MIT
// crash_text.c - see crash_text.h.
#include "server/crash_text.h"

static void put_char(struct crash_text *text, char c)
{
    if (text->len < sizeof(text->bytes))
        text->bytes[text->len++] = c;
}

void crash_put(struct crash_text *text, const char *string)
{
    for (const char *p = string ? string : "?"; *p; p++)
        put_char(text, *p);
}

static void put_digits(struct crash_text *text, uint64_t number, unsigned base, unsigned width)
{
    char digits[20];
    unsigned count = 0;
    for (; number || count < width; number /= base)
        digits[count++] = "0123456789abcdef"[number % base];
    while (count)
        put_char(text, digits[--count]);
}

void crash_put_number(struct crash_text *text, uint64_t number)
{
    put_digits(text, number, 10, 1);
}

void crash_put_hex(struct crash_text *text, uint64_t number)
{
    crash_put(text, "0x");
    put_digits(text, number, 16, 1);
}

// gmtime_r() may wait for a lock that this very thread holds. Years are counted from March, so that the day
// that is not always there is the last one.
static void put_date(struct crash_text *text, uint64_t day_since_1970)
{
    enum { DAYS_400 = 146097, DAYS_100 = 36524, DAYS_4 = 1461, DAYS_TO_1970 = 719468 };
    uint64_t day = day_since_1970 + DAYS_TO_1970, era = day / DAYS_400, in_era = day % DAYS_400;
    uint64_t year = (in_era - in_era / (DAYS_4 - 1) + in_era / DAYS_100 - in_era / (DAYS_400 - 1)) / 365;
    uint64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    uint64_t march = (5 * in_year + 2) / 153;
    put_digits(text, year + era * 400 + (march >= 10), 10, 4);
    put_char(text, '-');
    put_digits(text, march < 10 ? march + 3 : march - 9, 10, 2);
    put_char(text, '-');
    put_digits(text, in_year - (153 * march + 2) / 5 + 1, 10, 2);
}

void crash_put_time(struct crash_text *text, const struct timespec *time)
{
    uint64_t second = (uint64_t)time->tv_sec;
    put_date(text, second / 86400);
    put_char(text, 'T');
    put_digits(text, second / 3600 % 24, 10, 2);
    put_char(text, ':');
    put_digits(text, second / 60 % 60, 10, 2);
    put_char(text, ':');
    put_digits(text, second % 60, 10, 2);
    put_char(text, '.');
    put_digits(text, (uint64_t)time->tv_nsec / 1000000, 10, 3);
    put_char(text, 'Z');
}

void crash_text_flush(struct crash_text *text, int fd)
{
    // There is nobody left to tell when the log itself cannot be written.
    ssize_t ignored = write(fd, text->bytes, text->len);
    (void)ignored;
    text->len = 0;
}
