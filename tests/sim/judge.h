// SPDX-License-Identifier: MIT
// judge.h - e2fsck's opinion of a simulated disk.
#pragma once

#include "dev/sim.h"

// The volume must be clean as it is: e2fsck -fn. 0, or -EFSCORRUPTED with its words on standard error.
MUST_USE int judge_clean(const struct sim_disk *disk, const char *dir, const char *what);
// After a power cut: e2fsck replays the journal and ends the orphans' lives on a copy, and then must
// find nothing else.
MUST_USE int judge_crashed(const struct sim_disk *disk, const char *dir, const char *what);
