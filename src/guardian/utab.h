// SPDX-License-Identifier: MIT
// utab.h - a note for umount(8), in its own table, that this mount has a helper.
//
// Without it umount(8) sees "fuse", looks for umount.fuse, and returns before the disk is free. Best
// effort: where there is no table or no right to write it, umount(8) merely does not wait.
#pragma once

#include "base/types.h"

void utab_add(const char *disk, const char *mountpoint);
void utab_remove(const char *mountpoint);
