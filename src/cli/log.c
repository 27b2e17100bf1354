// SPDX-License-Identifier: MIT
// log.c - `drover log`: what happened at a mount point, now and before.
//
// The log has a line of key=value for each event. A person is shown one line a recovery, crash reports as they
// are, whatever is a warning or worse, and the few events that explain the others.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define FOLLOW_US 200000

// TIME LEVEL WHO[PID] event=...
struct line {
    char time[32], level[8];
    const char *event;              // from "event=" on
};

static bool parse(const char *text, struct line *out)
{
    char who[64];
    int len = 0;
    *out = (struct line){0};
    if (sscanf(text, "%31s %7s %63s %n", out->time, out->level, who, &len) < 3 || strlen(out->time) != 24 ||
        out->time[10] != 'T' || len == 0)
        return false;
    out->event = text + len;
    out->time[10] = ' ';
    out->time[23] = 0;              // the Z
    return true;
}

// The value of a key; `missing` when it is not there.
static const char *value(const struct line *line, const char *key, const char *missing, char out[128])
{
    size_t len = strlen(key);
    const char *at = line->event;
    while (at && !(strncmp(at, key, len) == 0 && at[len] == '='))
        at = (at = strchr(at, ' ')) ? at + 1 : NULL;
    if (!at) {
        snprintf(out, 128, "%s", missing);
        return out;
    }
    at += len + 1;
    const char *end = *at == '"' ? strchr(++at, '"') : at + strcspn(at, " \n");
    snprintf(out, 128, "%.*s", end ? (int)(end - at) : (int)strcspn(at, "\n"), at);
    return out;
}

static bool is_event(const struct line *line, const char *name)
{
    char event[128];
    return strcmp(value(line, "event", "", event), name) == 0;
}

static void print_recovery(const struct line *line)
{
    char generation[128], died[128], pause[128], act[128], ignore[128], modify[128], pages[128];
    printf("%s  recovery  generation %s, the one before %s, pause %s ms, act %s, ignore %s, modify %s, pages %s\n", line->time,
           value(line, "generation", "?", generation), value(line, "died", "died", died), value(line, "pause_ms", "?", pause),
           value(line, "act", "0", act), value(line, "ignore", "0", ignore), value(line, "modify", "0", modify),
           value(line, "pages", "0", pages));
}

static void print_crash(const struct line *line)
{
    char generation[128], what[128], signal[128], request[128];
    printf("%s  CRASH     generation %s, %s: %s, request %s\n", line->time, value(line, "generation", "?", generation),
           value(line, "signal", "?", signal), value(line, "what", "?", what), value(line, "request", "?", request));
}

// What explains the rest.
static bool is_worth_telling(const struct line *line)
{
    static const char *const events[] = {"mounted", "ended", "inject", "injected", "flip", "handing-over", "upgraded"};
    char disk[128];
    if (is_event(line, "mounted") && !*value(line, "disk", "", disk))
        return false;               // every server says that it has opened the volume
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        if (is_event(line, events[i]))
            return true;
    // A death is told with its recovery.
    return (strcmp(line->level, "error") == 0 || strcmp(line->level, "warn") == 0) && !is_event(line, "server-died");
}

// `shown`: was the line before it? Lines that are no events belong to it.
static bool print_line(const char *text, bool shown)
{
    struct line line;
    if (!parse(text, &line) || strncmp(line.event, "event=", 6) != 0) {
        // What the C library or a sanitizer had to say has no time before it, and is never without interest.
        if (shown || text[0] != ' ')
            fputs(text, stdout);
        return shown;
    }
    char pause[128];
    bool has_pause = *value(&line, "pause_ms", "", pause);  // the guardian's line; the server itself has one, too
    if (is_event(&line, "recovered") && has_pause)
        print_recovery(&line);
    else if (is_event(&line, "crash"))
        print_crash(&line);
    else if (is_worth_telling(&line))
        printf("%s  %-8s  %s", line.time, line.level, line.event + 6);
    else
        return false;
    return true;
}

static int print_file(FILE *file, bool raw, bool follow)
{
    char *text = NULL;
    size_t size = 0;
    bool shown = true;
    for (;;) {
        while (getline(&text, &size, file) > 0) {
            if (raw)
                fputs(text, stdout);
            else
                shown = print_line(text, shown);
        }
        fflush(stdout);
        if (!follow || ferror(file) || ferror(stdout))
            break;
        clearerr(file);
        usleep(FOLLOW_US);
    }
    free(text);
    return ferror(file) || ferror(stdout) ? -EIO : 0;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    bool raw = false, follow = false;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        if (strcmp(argv[first], "--raw") == 0)
            raw = true;
        else if (strcmp(argv[first], "--follow") == 0 || strcmp(argv[first], "-f") == 0)
            follow = true;
        else
            return cli_wrong_usage(command, "%s: unknown option", argv[first]);
    }
    if (argc - first != 1)
        return cli_wrong_usage(command, "which mount point?");
    AUTO_FREE char *mountpoint = cli_mountpoint(argv[first]);
    if (!mountpoint)
        return CLI_FAILED;
    char path[CONTROL_PATH_MAX];
    control_path(mountpoint, ".log", path);
    FILE *file = fopen(path, "re");
    if (!file && errno == ENOENT)
        return cli_fail("%s: has no log (nothing was mounted there since the machine started)", mountpoint);
    if (!file)
        return cli_fail("%s: cannot be read: %s", path, strerror(errno));
    int rc = print_file(file, raw, follow);
    fclose(file);
    return rc < 0 ? cli_fail("%s: cannot be read: %s", path, strerror(-rc)) : CLI_OK;
}

const struct cli_command cli_log = {
    .name = "log",
    .usage = "[--raw] [--follow] MOUNTPOINT",
    .summary = "prints what happened: mounts, recoveries, crashes, faults",
    .help = "  --raw      every line of the log, as it is\n"
            "  --follow   goes on with what happens from now on\n",
    .run = run,
};
