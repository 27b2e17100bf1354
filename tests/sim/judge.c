// SPDX-License-Identifier: MIT
// judge.c - see judge.h.
#include "judge.h"

#include <stdio.h>
#include <sys/wait.h>

#include "base/log.h"

static int run(const char *command)
{
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int judge(const struct sim_disk *disk, const char *dir, const char *what, bool replay_first)
{
    char image[256], output[512], command[2048];
    struct err err = {0};
    snprintf(image, sizeof(image), "%s/judge-%d.img", dir, getpid());
    snprintf(output, sizeof(output), "%s.out", image);
    int rc = sim_disk_save(disk, image, &err);
    if (rc < 0) {
        log_error("event=judge-failed why=\"%s\"", err.text);
        return rc;
    }
    if (replay_first) {
        snprintf(command, sizeof(command), "e2fsck -y %s >%s 2>&1", image, output);
        int status = run(command);
        if (status > 1)
            rc = -EFSCORRUPTED;
    }
    if (rc == 0) {
        snprintf(command, sizeof(command), "e2fsck -fn %s >>%s 2>&1", image, output);
        rc = run(command) == 0 ? 0 : -EFSCORRUPTED;
    }
    if (rc < 0) {
        fprintf(stderr, "e2fsck does not like the volume %s:\n", what);
        snprintf(command, sizeof(command), "head -n 30 %s >&2", output);
        run(command);
    }
    unlink(image);
    unlink(output);
    return rc;
}

int judge_clean(const struct sim_disk *disk, const char *dir, const char *what)
{
    return judge(disk, dir, what, false);
}

int judge_crashed(const struct sim_disk *disk, const char *dir, const char *what)
{
    return judge(disk, dir, what, true);
}
