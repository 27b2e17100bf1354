// SPDX-License-Identifier: MIT
// symbols.c - see symbols.h. A stripped or strange program has no names, which is no error.
#include "server/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MODULES_MAX 24u

struct module {
    const char *name;
    uintptr_t base, low, high;
};

static struct {
    struct module modules[MODULES_MAX];     // the program itself is the first
    uint32_t module_count;
    const uint8_t *file;
    size_t file_bytes;
    const ElfW(Sym) *symbols;
    size_t symbol_count;
    const char *strings;
    size_t strings_bytes;
} table;

// --- what is loaded where -----------------------------------------------------------------------------

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    struct module module = {.base = info->dlpi_addr, .low = UINTPTR_MAX};
    const char *slash = strrchr(info->dlpi_name, '/');
    module.name = slash ? slash + 1 : *info->dlpi_name ? info->dlpi_name : program_invocation_short_name;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        uintptr_t low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        module.low = MIN(module.low, low);
        module.high = MAX(module.high, low + info->dlpi_phdr[i].p_memsz);
    }
    table.modules[table.module_count++] = module;
    return table.module_count == MODULES_MAX;
}

// --- the program's own table ----------------------------------------------------------------------------

static bool inside(size_t off, size_t len)
{
    return off <= table.file_bytes && len <= table.file_bytes - off;
}

static const ElfW(Shdr) *section_of_file(const ElfW(Ehdr) *head, size_t index)
{
    const ElfW(Shdr) *sections = (const void *)(table.file + head->e_shoff);
    return index < head->e_shnum && inside(sections[index].sh_offset, sections[index].sh_size) ? &sections[index] : NULL;
}

static void find_tables(void)
{
    const ElfW(Ehdr) *head = (const void *)table.file;
    if (!inside(0, sizeof(*head)) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_shentsize != sizeof(ElfW(Shdr)) || !inside(head->e_shoff, head->e_shnum * sizeof(ElfW(Shdr))))
        return;
    for (size_t i = 0; i < head->e_shnum; i++) {
        const ElfW(Shdr) *symbols = section_of_file(head, i);
        const ElfW(Shdr) *strings = symbols && symbols->sh_type == SHT_SYMTAB ? section_of_file(head, symbols->sh_link) : NULL;
        if (!strings || strings->sh_size == 0 || table.file[strings->sh_offset + strings->sh_size - 1] != 0)
            continue;
        table.symbols = (const void *)(table.file + symbols->sh_offset);
        table.symbol_count = symbols->sh_size / sizeof(ElfW(Sym));
        table.strings = (const char *)table.file + strings->sh_offset;
        table.strings_bytes = strings->sh_size;
    }
}

void symbols_open(void)
{
    symbols_close();
    dl_iterate_phdr(add_module, NULL);
    AUTO_FD int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
        return;
    void *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED)
        return;
    table.file = file;
    table.file_bytes = (size_t)st.st_size;
    find_tables();
}

void symbols_close(void)
{
    if (table.file)
        munmap((void *)table.file, table.file_bytes);
    memset(&table, 0, sizeof(table));
}

// --- looking up -------------------------------------------------------------------------------------------

static void name_it(struct symbol *out)
{
    for (size_t i = 0; i < table.symbol_count; i++) {
        const ElfW(Sym) *symbol = &table.symbols[i];
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || out->module_offset < symbol->st_value ||
            out->module_offset - symbol->st_value >= symbol->st_size || symbol->st_name >= table.strings_bytes)
            continue;
        out->name = table.strings + symbol->st_name;
        out->offset = out->module_offset - symbol->st_value;
        return;
    }
}

struct symbol symbols_find(uintptr_t address)
{
    struct symbol out = {0};
    for (uint32_t i = 0; i < table.module_count; i++) {
        const struct module *module = &table.modules[i];
        if (address < module->low || address >= module->high)
            continue;
        out.module = module->name;
        out.module_offset = address - module->base;
        if (i == 0)
            name_it(&out);
        return out;
    }
    return out;
}
