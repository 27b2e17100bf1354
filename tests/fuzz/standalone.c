// SPDX-License-Identifier: MIT
// standalone.c - runs a fuzz target without libFuzzer: a corpus, then mutations of it.
//
//   TARGET CORPUS [COUNT [FIRST]]     COUNT mutations, numbered from FIRST
//   TARGET FILE                       one input, to look at a crash
//
// A mutation follows from its number and the corpus alone, so a crash is repeated by COUNT 1 and the
// number that was printed; its bytes are also left in the file crash-NUMBER.
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX 8192u
#define SECONDS_MAX 10u         // for one input: more is a hang

struct input {
    uint8_t bytes[INPUT_MAX];
    size_t size;
};
struct corpus {
    struct input *inputs;
    size_t count;
};

// For the signal handler only.
static struct {
    const struct input *input;
    unsigned long number;
} running;

// Sanitizers then end in SIGABRT, like a failed CHECK.
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "abort_on_error=1";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:abort_on_error=1";
}

static void report(int signal_number)
{
    char name[64];
    int len = snprintf(name, sizeof(name), "crash-%lu", running.number);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, running.input->bytes, running.input->size) >= 0)
        dprintf(STDERR_FILENO, "%s in input %lu, see %.*s\n", signal_number == SIGALRM ? "hang" : "crash", running.number, len, name);
    _exit(1);
}

static void run(const struct input *input, unsigned long number)
{
    running.input = input;
    running.number = number;
    alarm(SECONDS_MAX);
    LLVMFuzzerTestOneInput(input->bytes, input->size);
}

static bool load_file(const char *path, struct input *out)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, out->bytes, sizeof(out->bytes));
    out->size = size < 0 ? 0 : (size_t)size;
    return size >= 0;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

// In the order of their names: the numbers of mutations depend on it.
static bool load_corpus(const char *path, struct corpus *out)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, alphasort);
    if (count < 0)
        return false;
    *out = (struct corpus){.inputs = xcalloc((size_t)count + 1, sizeof(struct input)), .count = (size_t)count};
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (!load_file(name, &out->inputs[i]))
            out->inputs[i].size = 0;
        free(entries[i]);
    }
    free(entries);
    return true;
}

static uint64_t draw(uint64_t *state)
{
    // splitmix64
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// Half of all changes fall on the first bytes, where structures have their headers.
static size_t draw_place(uint64_t *state, size_t size)
{
    size_t room = draw(state) % 2 ? MIN(size, (size_t)128) : size;
    return draw(state) % room;
}

static void mutate_once(const struct corpus *corpus, struct input *input, uint64_t *state)
{
    static const uint8_t telling[] = {0, 1, 2, 4, 12, 16, 0x7f, 0x80, 0xf0, 0xfc, 0xff};
    size_t at = draw_place(state, input->size);
    const struct input *other = &corpus->inputs[draw(state) % corpus->count];
    size_t len = 1 + draw(state) % 32;

    switch (draw(state) % 6) {
    case 0: input->bytes[at] ^= (uint8_t)(1u << draw(state) % 8); break;
    case 1: input->bytes[at] = (uint8_t)draw(state); break;
    case 2: input->bytes[at] = telling[draw(state) % sizeof(telling)]; break;
    case 3: input->bytes[at] += (uint8_t)(draw(state) % 9 - 4); break;
    case 4:
        // A piece of another input, at its own place.
        if (at + len <= MIN(other->size, input->size))
            memcpy(input->bytes + at, other->bytes + at, len);
        break;
    case 5:
        if (draw(state) % 16 == 0)
            input->size = at;
        break;
    }
}

static void mutate(const struct corpus *corpus, unsigned long number, struct input *out)
{
    uint64_t state = number;
    *out = corpus->inputs[draw(&state) % corpus->count];
    for (uint64_t changes = 1 + draw(&state) % 6; changes > 0 && out->size > 0; changes--)
        mutate_once(corpus, out, &state);
}

int main(int argc, char **argv)
{
    struct stat stat;
    struct corpus corpus;
    struct input *input = xcalloc(1, sizeof(*input));
    if (argc < 2 || lstat(argv[1], &stat) != 0) {
        fprintf(stderr, "usage: %s CORPUS [COUNT [FIRST]]\n", argv[0]);
        return 2;
    }
    signal(SIGABRT, report);
    signal(SIGSEGV, report);
    signal(SIGALRM, report);
    if (!S_ISDIR(stat.st_mode)) {
        if (load_file(argv[1], input))
            run(input, 0);
        free(input);
        return 0;
    }
    if (!load_corpus(argv[1], &corpus) || corpus.count == 0) {
        fprintf(stderr, "%s: no corpus\n", argv[1]);
        return 2;
    }

    for (size_t i = 0; i < corpus.count; i++)
        run(&corpus.inputs[i], i);
    unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000, first = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    for (unsigned long number = first; number < first + count; number++) {
        mutate(&corpus, number, input);
        run(input, number);
    }
    printf("%zu inputs and %lu mutations of them\n", corpus.count, count);
    free(corpus.inputs);
    free(input);
    return 0;
}
