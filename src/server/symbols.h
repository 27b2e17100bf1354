// SPDX-License-Identifier: MIT
// symbols.h - which function an address belongs to, for the back-trace of a crash report.
//
// The program's own symbol table is mapped while files can still be opened; afterwards a look-up only reads
// memory, so that a signal handler may do it. There is one program, hence one table.
#pragma once

#include "base/types.h"

struct symbol {
    const char *name;           // NULL: not known (another module, or the program was stripped)
    uint64_t offset;            // of the address in the function
    const char *module;         // NULL: the address is in no program or library
    uint64_t module_offset;     // what addr2line -e MODULE wants
};

void symbols_open(void);
void symbols_close(void);
struct symbol symbols_find(uintptr_t address);
