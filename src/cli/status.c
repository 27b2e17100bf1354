// SPDX-License-Identifier: MIT
// status.c - `drover status`: one mount or all, for people or as JSON.
//
// The guardian's half comes as a struct and is always there; the server's half is JSON and is
// missing while there is no server, or one that hangs.
#include <dirent.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static json_int_t count(uint64_t value)
{
    return (json_int_t)value;
}

// [{"to_ms": 1, "count": 0}, ...]; the last one's to_ms is null: longer than all others.
static json_t *histogram(const struct control_state *state)
{
    json_t *buckets = json_array();
    for (size_t i = 0; i < CONTROL_BUCKETS; i++) {
        json_t *to = i + 1 < CONTROL_BUCKETS ? json_real(control_bucket_ms[i]) : json_null();
        json_array_append_new(buckets, json_pack("{s:o, s:I}", "to_ms", to, "count", count(state->pause_buckets[i])));
    }
    return buckets;
}

static json_t *recoveries(const struct control_state *state)
{
    return json_pack("{s:I, s:{s:f, s:f, s:f, s:o}, s:{s:I, s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "count", count(state->recoveries),
                     "pause_ms", "p50", state->pause_p50_ms, "p99", state->pause_p99_ms, "max", state->pause_max_ms,
                     "histogram", histogram(state),
                     "aim", "act", count(state->aim_act), "ignore", count(state->aim_ignore), "modify", count(state->aim_modify),
                     "pages", count(state->pages_recovered), "mended", count(state->mended), "poisoned", count(state->poisoned),
                     "distrusted", count(state->distrusted), "crashes", count(state->crashes), "damage", count(state->damage));
}

static json_t *guardian_half(const struct control_state *state)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:{s:i}, s:{s:i, s:i, s:s}, s:{s:i}, s:o, s:s}",
                     "mountpoint", state->mountpoint, "disk", state->disk, "version", DROVER_VERSION,
                     "read_only", state->read_only,
                     "guardian", "pid", state->guardian_pid,
                     "server", "pid", state->server_pid, "generation", state->generation,
                     "state", state->serving ? "serving" : "recovering",
                     "standby", "pid", state->standby_pid,
                     "recoveries", recoveries(state),
                     "log", state->log);
}

// What a server would say, for when it says nothing.
static json_t *empty_half(void)
{
    return json_pack("{s:{s:i, s:i, s:i, s:i}, s:{s:s, s:i}, s:{s:i, s:i, s:i}, s:{s:s}, s:[], s:[]}",
                     "cache", "bytes", 0, "limit", 0, "hits", 0, "misses", 0,
                     "journal", "mode", "unknown", "transactions", 0,
                     "plog", "entries", 0, "bytes", 0, "capacity", 0,
                     "policy", "name", "plain", "disks", "damaged_files");
}

// NULL, reported, when the guardian does not answer.
static json_t *fetch(const char *mountpoint)
{
    static char text[CONTROL_TEXT_MAX];
    struct control_answer answer;
    if (cli_ask(mountpoint, CONTROL_STATUS, &answer, text) < 0)
        return NULL;
    json_t *all = guardian_half(&answer.state);
    json_t *server = answer.text_len ? json_loads(text, 0, NULL) : NULL;
    bool answered = json_is_object(server);
    if (!answered) {
        json_decref(server);
        server = empty_half();
    }
    json_object_update_missing(all, server);
    json_object_set_new(all, "server_answers", json_boolean(answered));
    json_decref(server);
    return all;
}

// --- for people -------------------------------------------------------------------------------------

static double number(const json_t *all, const char *group, const char *name)
{
    return json_number_value(json_object_get(json_object_get(all, group), name));
}

static const char *word(const json_t *all, const char *group, const char *name)
{
    const char *text = json_string_value(json_object_get(group ? json_object_get(all, group) : all, name));
    return text ? text : "";
}

static void print_disks(const json_t *all)
{
    size_t i;
    json_t *disk;
    json_array_foreach(json_object_get(all, "disks"), i, disk)
        printf("  disk      %s: %s, %.0f read errors, %.0f write errors, %.0f corruptions\n", word(disk, NULL, "name"),
               word(disk, NULL, "state"), json_number_value(json_object_get(disk, "read_errors")),
               json_number_value(json_object_get(disk, "write_errors")),
               json_number_value(json_object_get(disk, "corruptions")));
}

static void print_server(const json_t *all)
{
    printf("%s on %s%s\n", word(all, NULL, "disk"), word(all, NULL, "mountpoint"),
           json_is_true(json_object_get(all, "read_only")) ? " (read-only)" : "");
    printf("  server    %s, pid %.0f, generation %.0f%s\n", word(all, "server", "state"), number(all, "server", "pid"),
           number(all, "server", "generation"), json_is_true(json_object_get(all, "server_answers")) ? "" : "; IT DOES NOT ANSWER");
    if (number(all, "standby", "pid"))
        printf("  standby   ready, pid %.0f; guardian pid %.0f\n", number(all, "standby", "pid"), number(all, "guardian", "pid"));
    else
        printf("  standby   none; guardian pid %.0f\n", number(all, "guardian", "pid"));
}

// One line for each bucket between the shortest and the longest pause.
static void print_histogram(const json_t *buckets)
{
    size_t last = 0, i;
    json_t *bucket;
    double from = 0, most = 1;
    json_array_foreach(buckets, i, bucket) {
        double times = json_number_value(json_object_get(bucket, "count"));
        most = MAX(most, times);
        last = times ? i + 1 : last;
    }
    bool begun = false;
    json_array_foreach(buckets, i, bucket) {
        static const char bar[] = "########################################";
        double times = json_number_value(json_object_get(bucket, "count")), to = json_number_value(json_object_get(bucket, "to_ms"));
        begun = begun || times;
        int width = times ? 1 + (int)(times / most * (double)(sizeof(bar) - 2)) : 0;
        if (begun && i < last && to)
            printf("            %6.0f to %-6.0f ms %7.0f  %.*s\n", from, to, times, width, bar);
        else if (begun && i < last)
            printf("            over %-11.0f ms %7.0f  %.*s\n", from, times, width, bar);
        from = to;
    }
}

static void print_recoveries(const json_t *all)
{
    const json_t *part = json_object_get(all, "recoveries"), *pause = json_object_get(part, "pause_ms"), *aim = json_object_get(part, "aim");
    printf("  recovered %.0f times\n", number(all, "recoveries", "count"));
    if (number(all, "recoveries", "count")) {
        printf("  pauses    p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", json_number_value(json_object_get(pause, "p50")),
               json_number_value(json_object_get(pause, "p99")), json_number_value(json_object_get(pause, "max")));
        print_histogram(json_object_get(pause, "histogram"));
        printf("  replayed  act %.0f, ignore %.0f, modify %.0f; %.0f pages\n", json_number_value(json_object_get(aim, "act")),
               json_number_value(json_object_get(aim, "ignore")), json_number_value(json_object_get(aim, "modify")),
               number(all, "recoveries", "pages"));
    }
    if (number(all, "recoveries", "crashes"))
        printf("  crashes   %.0f by its own fault, %.0f of these of damaged memory (drover log %s)\n", number(all, "recoveries", "crashes"),
               number(all, "recoveries", "damage"), word(all, NULL, "mountpoint"));
    if (number(all, "recoveries", "mended"))
        printf("  mended    %.0f flipped bits in what a dead server left\n", number(all, "recoveries", "mended"));
    if (number(all, "recoveries", "poisoned"))
        printf("  POISON    %.0f requests were answered with EIO because they kill servers (drover log %s)\n",
               number(all, "recoveries", "poisoned"), word(all, NULL, "mountpoint"));
    if (number(all, "recoveries", "distrusted"))
        printf("  LOST LOG  %.0f times what a dead server left could not be believed: operations since its last commit are lost,\n"
               "            open files were closed (drover log %s)\n", number(all, "recoveries", "distrusted"), word(all, NULL, "mountpoint"));
}

static void print_mount(const json_t *all)
{
    print_server(all);
    print_recoveries(all);
    printf("  log       %.0f operations in the gap, %.1f of %.1f MiB\n", number(all, "plog", "entries"),
           number(all, "plog", "bytes") / 1048576, number(all, "plog", "capacity") / 1048576);
    double hits = number(all, "cache", "hits"), asked = hits + number(all, "cache", "misses");
    printf("  cache     %.1f of %.1f MiB metadata, %.1f %% hits; data %.1f MiB, %.1f dirty\n", number(all, "cache", "bytes") / 1048576,
           number(all, "cache", "limit") / 1048576, asked ? 100 * hits / asked : 100.0,
           (number(all, "cache", "data_bytes") - number(all, "cache", "data_free_bytes")) / 1048576,
           number(all, "cache", "data_dirty_bytes") / 1048576);
    printf("  journal   %s, %.0f transactions\n", word(all, "journal", "mode"), number(all, "journal", "transactions"));
    print_disks(all);
}

// --- all mounts -------------------------------------------------------------------------------------

static int is_socket_name(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 5 && strcmp(entry->d_name + len - 5, ".sock") == 0;
}

// The mount point behind a socket; to be freed. NULL when nobody listens there any more.
static char *mountpoint_of(const char *socket_path)
{
    struct control_answer answer;
    AUTO_FD int fd = control_connect(socket_path);
    if (fd < 0 || control_send(fd, CONTROL_STATUS) < 0 || control_receive(fd, 5000, &answer, NULL) < 0)
        return NULL;
    return strdup(answer.state.mountpoint);
}

static json_t *fetch_all(void)
{
    char dir[CONTROL_DIR_MAX];
    struct dirent **names = NULL;
    json_t *all = json_array();
    control_dir(dir);
    int count = scandir(dir, &names, is_socket_name, alphasort);
    for (int i = 0; i < count; i++) {
        char path[CONTROL_PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        AUTO_FREE char *mountpoint = mountpoint_of(path);
        json_t *one = mountpoint ? fetch(mountpoint) : NULL;
        if (one)
            json_array_append_new(all, one);
        free(names[i]);
    }
    free(names);
    return all;
}

static void print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
}

static int print_all(bool as_json)
{
    json_t *all = fetch_all(), *one;
    size_t i;
    if (as_json)
        print_json(all);
    else
        json_array_foreach(all, i, one)
            print_mount(one);
    if (!as_json && json_array_size(all) == 0)
        printf("nothing is mounted\n");
    json_decref(all);
    return CLI_OK;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {0}};
    bool as_json = false;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'j')
            return cli_wrong_usage(command, "unknown option");
        as_json = true;
    }
    if (argc - optind > 1)
        return cli_wrong_usage(command, "one mount point, or none for all");
    if (argc == optind)
        return print_all(as_json);

    AUTO_FREE char *mountpoint = cli_mountpoint(argv[optind]);
    json_t *all = mountpoint ? fetch(mountpoint) : NULL;
    if (!all)
        return CLI_FAILED;
    if (as_json)
        print_json(all);
    else
        print_mount(all);
    json_decref(all);
    return CLI_OK;
}

const struct cli_command cli_status = {
    .name = "status",
    .usage = "[--json] [MOUNTPOINT]",
    .summary = "shows servers, recoveries, pauses, caches, journal and disks",
    .help = "  --json   for programs; one object, or an array of all mounts\n",
    .run = run,
};
