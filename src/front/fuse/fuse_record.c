// SPDX-License-Identifier: MIT
// fuse_record.c - see fuse_record.h.
#include "front/fuse/fuse_record.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "front/fuse/fuse_decode.h"

static_assert(FUSE_RECORD_TEXT <= UINT8_MAX, "a name's length has a byte");

// --- places -------------------------------------------------------------------------------------

static uint32_t home_of(uint64_t unique, uint32_t count)
{
    return (uint32_t)(unique >> 1) % count;     // the kernel counts by two
}

static uint32_t place_behind(uint32_t home, uint32_t distance, uint32_t count)
{
    uint32_t at = home + distance;
    return at < count ? at : at - count;
}

static uint32_t check_of(const struct fuse_record *record, uint64_t unique)
{
    struct {
        uint64_t unique, nodeid;
        uint32_t opcode, pid;
    } identity = {unique, record->nodeid, record->opcode, record->pid};
    return crc32c(~0u, &identity, sizeof(identity));
}

// By all places, believing none of the distances.
static struct fuse_record *find_anywhere(struct fuse_record *at, uint32_t count, uint64_t unique)
{
    for (uint32_t i = 0; unique && i < count; i++)
        if (at[i].unique == unique)
            return &at[i];
    return NULL;
}

static struct fuse_record *find(struct fuse_record *at, uint32_t count, uint64_t unique)
{
    uint32_t home = home_of(unique, count), reach = MIN((uint32_t)at[home].reach, count - 1);
    for (uint32_t distance = 0; distance <= reach; distance++) {
        struct fuse_record *record = &at[place_behind(home, distance, count)];
        if (record->unique == unique)
            return record;
    }
    return NULL;
}

static void remember_distance(struct fuse_record *at, uint32_t home, uint32_t distance)
{
    if (distance > at[home].reach)
        at[home].reach = (uint16_t)distance;
}

// --- recovery and crash handlers ------------------------------------------------------------------

void fuse_records_applied(void *memory, uint32_t count, uint64_t request, const struct ops_answer *answer)
{
    struct fuse_record *record = memory && request ? find(memory, count, request) : NULL;
    if (!record)
        return;
    __atomic_store_n(&record->answer.seq, 0, __ATOMIC_RELEASE);
    record->answer.result = answer->result;
    record->answer.ino = answer->ino;
    record->answer.generation = answer->generation;
    __atomic_store_n(&record->answer.seq, answer->seq, __ATOMIC_RELEASE);
}

uint32_t fuse_records_blame(void *memory, uint32_t count, uint64_t request)
{
    struct fuse_record *record = memory ? find_anywhere(memory, count, request) : NULL;
    return record ? ++record->deaths : 0;
}

// A line being written; what does not fit is left out.
struct line {
    char *at, *end;                 // there is always room for the NUL at `end`
};

static void put_text(struct line *line, const char *text)
{
    while (*text && line->at < line->end)
        *line->at++ = *text++;
}

static void put_number(struct line *line, uint64_t number)
{
    char digits[21];
    size_t at = sizeof(digits);
    digits[--at] = 0;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put_text(line, digits + at);
}

static void put_field(struct line *line, const char *key, uint64_t number)
{
    put_text(line, key);
    put_number(line, number);
}

// What would break the line, or the quotes, becomes a question mark.
static void put_name(struct line *line, const char *key, const char *bytes, size_t len)
{
    put_text(line, key);
    put_text(line, "\"");
    for (size_t i = 0; i < len; i++) {
        bool plain = (uint8_t)bytes[i] >= ' ' && bytes[i] != '"' && bytes[i] != '\\' && bytes[i] != 0x7f;
        put_text(line, (char[]){plain ? bytes[i] : '?', 0});
    }
    put_text(line, "\"");
}

static const char *const opcode_names[FUSE_OPCODES] = {
    [FUSE_LOOKUP] = "LOOKUP", [FUSE_GETATTR] = "GETATTR", [FUSE_SETATTR] = "SETATTR", [FUSE_READLINK] = "READLINK",
    [FUSE_SYMLINK] = "SYMLINK", [FUSE_MKNOD] = "MKNOD", [FUSE_MKDIR] = "MKDIR", [FUSE_UNLINK] = "UNLINK",
    [FUSE_RMDIR] = "RMDIR", [FUSE_RENAME] = "RENAME", [FUSE_LINK] = "LINK", [FUSE_OPEN] = "OPEN", [FUSE_READ] = "READ",
    [FUSE_WRITE] = "WRITE", [FUSE_STATFS] = "STATFS", [FUSE_RELEASE] = "RELEASE", [FUSE_FSYNC] = "FSYNC",
    [FUSE_SETXATTR] = "SETXATTR", [FUSE_GETXATTR] = "GETXATTR", [FUSE_LISTXATTR] = "LISTXATTR",
    [FUSE_REMOVEXATTR] = "REMOVEXATTR", [FUSE_INIT] = "INIT", [FUSE_OPENDIR] = "OPENDIR", [FUSE_READDIR] = "READDIR",
    [FUSE_RELEASEDIR] = "RELEASEDIR", [FUSE_FSYNCDIR] = "FSYNCDIR", [FUSE_CREATE] = "CREATE", [FUSE_DESTROY] = "DESTROY",
    [FUSE_IOCTL] = "IOCTL", [FUSE_FALLOCATE] = "FALLOCATE", [FUSE_READDIRPLUS] = "READDIRPLUS",
    [FUSE_RENAME2] = "RENAME2", [FUSE_LSEEK] = "LSEEK", [FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
    [FUSE_COPY_FILE_RANGE_64] = "COPY_FILE_RANGE_64", [FUSE_SYNCFS] = "SYNCFS", [FUSE_TMPFILE] = "TMPFILE",
    [FUSE_STATX] = "STATX",
};

static void put_opcode(struct line *line, uint32_t opcode)
{
    const char *name = opcode < FUSE_OPCODES ? opcode_names[opcode] : NULL;
    put_text(line, "op=");
    if (name)
        put_text(line, name);
    else
        put_number(line, opcode);
}

// The record may be damaged: nothing in it leads out of it.
size_t fuse_record_describe(const struct fuse_record *record, char *out, size_t size)
{
    CHECK(size > 0);
    struct line line = {out, out + size - 1};
    size_t first = MIN((size_t)record->name_len[0], sizeof(record->text));
    size_t second = MIN((size_t)record->name_len[1], sizeof(record->text) - first);
    put_opcode(&line, record->opcode);
    put_field(&line, " nodeid=", record->nodeid);
    if (first)
        put_name(&line, " name=", record->text, first);
    if (second)
        put_name(&line, " other=", record->text + first, second);
    put_field(&line, " pid=", record->pid);
    put_field(&line, " unique=", record->unique);
    put_field(&line, " deaths=", record->deaths);
    put_text(&line, record->answer.seq ? " applied=yes" : " applied=no");
    *line.at = 0;
    return (size_t)(line.at - out);
}

size_t fuse_records_describe(const void *memory, uint32_t count, uint64_t request, char *out, size_t size)
{
    const struct fuse_record *record = memory ? find_anywhere((void *)memory, count, request) : NULL;
    if (record)
        return fuse_record_describe(record, out, size);
    CHECK(size > 0);
    struct line line = {out, out + size - 1};
    if (request)
        put_field(&line, "unique=", request);
    else
        put_text(&line, "none");
    *line.at = 0;
    return (size_t)(line.at - out);
}

// --- begin and end ----------------------------------------------------------------------------------

static bool is_sane(const struct fuse_record *record)
{
    return !(record->unique & FUSE_UNIQUE_RESEND) && record->opcode < FUSE_OPCODES &&
           record->name_len[0] + record->name_len[1] <= FUSE_RECORD_TEXT && record->check == check_of(record, record->unique);
}

static void inherit(struct fuse_records *records, bool distrusted)
{
    uint32_t broken = 0;
    for (uint32_t i = 0; i < records->count; i++) {
        struct fuse_record *record = &records->at[i];
        if (record->unique == 0)
            continue;
        if (!is_sane(record)) {
            record->unique = 0;
            broken++;
            continue;
        }
        if (distrusted)
            record->answer.seq = 0;
        records->left[i] = true;
        records->left_count++;
        records->used++;
    }
    if (broken)
        log_warn("event=fuse-records-damaged count=%u what=\"these requests are executed if they come again\"", broken);
}

void fuse_records_init(struct fuse_records *records, void *memory, uint32_t count, enum fuse_records_origin origin)
{
    count = memory ? count : 2 * FUSE_RECORDS_MIN;
    CHECK(count >= FUSE_RECORDS_MIN);
    CHECK(count <= UINT16_MAX);
    *records = (struct fuse_records){
        .at = memory ? memory : xcalloc(count, sizeof(struct fuse_record)),
        .left = xcalloc(count, sizeof(bool)),
        .count = count,
        .owned = !memory,
    };
    if (origin == FUSE_RECORDS_NEW)
        for (uint32_t i = 0; i < count; i++)
            records->at[i].unique = 0;
    else
        inherit(records, origin == FUSE_RECORDS_LEFT_DISTRUSTED);
}

void fuse_records_fini(struct fuse_records *records)
{
    if (records->owned)
        free(records->at);
    free(records->left);
    *records = (struct fuse_records){0};
}

// --- take and free ------------------------------------------------------------------------------------

static bool is_same_request(const struct fuse_record *record, const struct fuse_in_header *head)
{
    return record->opcode == head->opcode && record->nodeid == head->nodeid && record->pid == head->pid;
}

static struct fuse_record *claim(struct fuse_records *records, const struct fuse_in_header *head)
{
    uint64_t unique = head->unique & ~FUSE_UNIQUE_RESEND;
    struct fuse_record *record = records->left_count ? find_anywhere(records->at, records->count, unique) : NULL;
    size_t index = record ? (size_t)(record - records->at) : 0;
    if (!record || !records->left[index])
        return NULL;
    records->left[index] = false;
    records->left_count--;
    if (is_same_request(record, head))
        return record;
    log_warn("event=fuse-record-unlike unique=%#llx opcode=%u recorded=%u", (unsigned long long)unique, head->opcode,
             record->opcode);
    fuse_records_free(records, record);
    return NULL;
}

static struct fuse_record *place(struct fuse_records *records, uint64_t unique)
{
    uint32_t home = home_of(unique, records->count);
    for (uint32_t distance = 0; distance < records->count; distance++) {
        struct fuse_record *record = &records->at[place_behind(home, distance, records->count)];
        if (record->unique)
            continue;
        remember_distance(records->at, home, distance);
        records->used++;
        return record;
    }
    return NULL;
}

struct fuse_record *fuse_records_take(struct fuse_records *records, const struct fuse_in_header *head)
{
    struct fuse_record *record = head->unique & FUSE_UNIQUE_RESEND ? claim(records, head) : NULL;
    uint64_t unique = head->unique & ~FUSE_UNIQUE_RESEND;
    if (record || unique == 0)
        return record;
    record = place(records, unique);
    if (!record)
        return NULL;
    record->nodeid = head->nodeid;
    record->answer = (struct ops_answer){0};
    record->opcode = head->opcode;
    record->pid = head->pid;
    record->deaths = 0;
    record->name_len[0] = record->name_len[1] = 0;
    record->check = check_of(record, unique);
    __atomic_store_n(&record->unique, unique, __ATOMIC_RELEASE);
    return record;
}

void fuse_record_note(struct fuse_record *record, const struct fuse_msg *msg)
{
    size_t room = msg->name[1].len ? FUSE_RECORD_TEXT / 2 : FUSE_RECORD_TEXT;
    size_t first = MIN(msg->name[0].len, room), second = MIN(msg->name[1].len, room);
    if (first == 0)
        return;
    memcpy(record->text, msg->name[0].bytes, first);
    if (second)
        memcpy(record->text + first, msg->name[1].bytes, second);
    record->name_len[0] = (uint8_t)first;
    record->name_len[1] = (uint8_t)second;
}

void fuse_records_free(struct fuse_records *records, struct fuse_record *record)
{
    __atomic_store_n(&record->unique, 0, __ATOMIC_RELEASE);
    records->used--;
}

void fuse_records_drop_left(struct fuse_records *records)
{
    for (uint32_t i = 0; records->left_count && i < records->count; i++) {
        if (!records->left[i])
            continue;
        records->left[i] = false;
        records->left_count--;
        fuse_records_free(records, &records->at[i]);
    }
}

bool fuse_records_made(const struct fuse_records *records, uint32_t ino)
{
    for (uint32_t i = 0; records->used && i < records->count; i++) {
        const struct fuse_record *record = &records->at[i];
        if (record->unique && record->opcode == FUSE_TMPFILE && record->answer.seq && record->answer.ino == ino)
            return true;
    }
    return false;
}
