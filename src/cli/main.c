// SPDX-License-Identifier: MIT
// main.c - `drover`: picks the subcommand, or the helper by whose name it was called.
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command *const commands[] = {
    &cli_mkfs, &cli_mount, &cli_umount, &cli_status, &cli_fsck, &cli_inject, &cli_log, &cli_upgrade,
};

static void print_commands(FILE *out)
{
    fprintf(out, "usage: drover COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  drover %s %s\n        %s\n", commands[i]->name, commands[i]->usage, commands[i]->summary);
    fprintf(out, "\n  drover COMMAND --help tells more; drover --version tells the version.\n");
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0] ? argv[0] : "drover", '/');
    const char *called = slash ? slash + 1 : argv[0] ? argv[0] : "drover";
    if (strncmp(called, "mount.", 6) == 0)
        return cli_mount_helper(argc, argv);
    if (strncmp(called, "umount.", 7) == 0)
        return cli_umount_helper(argc, argv);

    const char *word = argc > 1 ? argv[1] : NULL;
    if (word && (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)) {
        printf("drover %s\n", DROVER_VERSION);
        return CLI_OK;
    }
    if (word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)) {
        print_commands(stdout);
        return CLI_OK;
    }
    for (size_t i = 0; word && i < ARRAY_LEN(commands); i++)
        if (strcmp(word, commands[i]->name) == 0)
            return cli_asked_for_help(commands[i], argc - 1, argv + 1) ? CLI_OK : commands[i]->run(commands[i], argc - 1, argv + 1);
    if (word)
        fprintf(stderr, "drover: %s: no such command (drover --help lists them)\n", word);
    else
        print_commands(stderr);
    return CLI_USAGE;
}
