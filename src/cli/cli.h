// SPDX-License-Identifier: MIT
// cli.h - what the subcommands of `drover` share.
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "guardian/control.h"

#ifndef DROVER_VERSION
#define DROVER_VERSION "unknown"
#endif

enum cli_exit { CLI_OK, CLI_FAILED, CLI_USAGE };

struct cli_command {
    const char *name;
    const char *usage;              // arguments, without the name
    const char *summary;            // one line
    const char *help;               // the options; may be NULL
    int (*run)(const struct cli_command *command, int argc, char **argv);
};

// Prints "drover: <text>" on standard error. Returns CLI_FAILED, to be returned on.
int cli_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
// The same with how the command is used behind it. Returns CLI_USAGE.
int cli_wrong_usage(const struct cli_command *command, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cli_print_help(const struct cli_command *command);
// Finds `--help` (prints it) among argv. True when the command has nothing left to do.
bool cli_asked_for_help(const struct cli_command *command, int argc, char **argv);

// Runs a program and waits: its exit status, or a negative errno when it could not be started.
int cli_run_program(char *const argv[]);
// The path of a program of ours, beside this one, in the build tree, or where it is installed; to
// be freed. NULL when there is none.
char *cli_find_program(const char *name, const char *build_folder);
// "512M" and the like.
bool cli_parse_size(const char *text, uint64_t *out);

// Asks the guardian of a mount point. `text` as control_receive(). A negative errno is reported
// already, in one line.
int cli_ask(const char *mountpoint, enum control_op op, struct control_answer *answer, char *text);
// Has the server of a mount point bring about a fault. `text` (CONTROL_TEXT_MAX bytes) gets what it did. The same
// about errors.
int cli_ask_fault(const char *mountpoint, const struct control_inject *inject, char *text);
// The mount point as guardians name it; to be freed. NULL, reported, when there is no such path.
char *cli_mountpoint(const char *path);

extern const struct cli_command cli_mkfs, cli_mount, cli_umount, cli_status, cli_fsck, cli_inject, cli_log, cli_upgrade;

// Called as mount.drover and umount.drover, by mount(8) and umount(8).
int cli_mount_helper(int argc, char **argv);
int cli_umount_helper(int argc, char **argv);
