// SPDX-License-Identifier: MIT
// steps.c - small programs for the campaigns, all in the current directory, and the eye that looks at a tree.
//
//   steps calls|append|list|mmap|orphans|locks|leveldb     deterministic: prints every result
//   steps look DIR                                         one line for everything below DIR, as the server has it
//
// What a program prints is its verdict: the same lines must come out however often the server dies meanwhile.
// A call that must be executed once, and no more, is one whose repetition would print something else.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef HAVE_LEVELDB
#include <leveldb/c.h>
#endif

#define HASH_START 0xcbf29ce484222325ull

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    for (const unsigned char *at = bytes; len; len--, at++)
        hash = (hash ^ *at) * 0x100000001b3ull;
    return hash;
}

// Prints what a call gave, and returns it.
static long say(const char *what, long result)
{
    if (result < 0)
        printf("%s: %s\n", what, strerror(errno));
    else
        printf("%s: ok\n", what);
    return result;
}

static void need(bool right, const char *what)
{
    if (right)
        return;
    printf("FAILED %s: %s\n", what, strerror(errno));
    exit(3);
}

static void pattern(char *out, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + (i * 7 + seed * 13 + i / 251) % 26);
}

static uint64_t hash_fd(int fd)
{
    char buffer[65536];
    uint64_t hash = HASH_START;
    off_t at = 0;
    for (ssize_t n; (n = pread(fd, buffer, sizeof(buffer), at)) != 0; at += n) {
        need(n > 0, "read");
        hash = hash_bytes(hash, buffer, (size_t)n);
    }
    return hash;
}

static void say_file(const char *name)
{
    struct stat st;
    if (lstat(name, &st) < 0) {
        printf("%s: %s\n", name, strerror(errno));
        return;
    }
    printf("%s: mode %o, %ld links, %lld bytes", name, st.st_mode, (long)st.st_nlink, (long long)(S_ISDIR(st.st_mode) ? 0 : st.st_size));
    if (S_ISREG(st.st_mode)) {
        int fd = open(name, O_RDONLY);
        printf(", %016" PRIx64, fd < 0 ? 0 : hash_fd(fd));
        if (fd >= 0)
            close(fd);
    }
    putchar('\n');
}

// --- calls that must happen once ---------------------------------------------------------------------

static void one_round(int round)
{
    char text[32], value[32] = "value 0";
    int fd = open("exclusive", O_CREAT | O_EXCL | O_RDWR, 0640);
    say("create exclusive", fd);
    say("create it again", open("exclusive", O_CREAT | O_EXCL | O_RDWR, 0640));
    say("write", write(fd, "twelve bytes", 12));
    say("mkdir", mkdir("dir", 0750));
    say("mkdir again", mkdir("dir", 0750));
    say("link", link("exclusive", "dir/second"));
    say("link again", link("exclusive", "dir/second"));
    say("symlink", symlink("nowhere/at/all", "dir/symbolic"));
    say("mkfifo", mkfifo("dir/fifo", 0600));
    say("rename", rename("exclusive", "dir/renamed"));
    say("rename again", rename("exclusive", "dir/renamed"));
    say("no replace", renameat2(AT_FDCWD, "dir/second", AT_FDCWD, "dir/renamed", RENAME_NOREPLACE));
    say("exchange", renameat2(AT_FDCWD, "dir/symbolic", AT_FDCWD, "dir/fifo", RENAME_EXCHANGE));
    say("setxattr", fsetxattr(fd, "user.name", value, 8, XATTR_CREATE));
    say("setxattr again", fsetxattr(fd, "user.name", value, 8, XATTR_CREATE));
    say("replace xattr", fsetxattr(fd, "user.name", "other", 5, XATTR_REPLACE));
    say("removexattr of none", fremovexattr(fd, "user.none"));
    say("chmod", fchmod(fd, 0604));
    say("chown", fchown(fd, 12, 34));
    say("truncate", ftruncate(fd, 4000 + round));
    say("fallocate", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
    say("utimens", futimens(fd, (struct timespec[2]){{1000000 + round, 1}, {2000000 + round, 2}}));
    say_file("dir/renamed");
    say("unlink", unlink("dir/second"));
    say("unlink again", unlink("dir/second"));
    say("rmdir of a full one", rmdir("dir"));
    say("unlink fifo", unlink("dir/fifo"));
    say("unlink symbolic", unlink("dir/symbolic"));
    snprintf(text, sizeof(text), "kept%d", round);
    say("rename out", rename("dir/renamed", text));
    say("rmdir", rmdir("dir"));
    say("rmdir again", rmdir("dir"));
    say("removexattr", round % 2 ? fremovexattr(fd, "user.name") : 0);
    close(fd);
    say_file(text);
}

static void calls(void)
{
    for (int round = 0; round < 2; round++)
        one_round(round);
}

// --- appending, without the kernel's page cache ----------------------------------------------------------

static void append(void)
{
    char *block = aligned_alloc(4096, 8192), line[64];
    int direct = open("direct", O_CREAT | O_EXCL | O_RDWR | O_APPEND | O_DIRECT, 0600), through = open("through", O_CREAT | O_EXCL | O_RDWR | O_APPEND | O_DSYNC, 0600);
    need(direct >= 0 && through >= 0, "open");
    for (unsigned i = 0; i < 16; i++) {
        pattern(block, 8192, i);
        need(write(direct, block, i % 3 ? 4096 : 8192) > 0, "append");
        if (i % 4 == 1)
            need(pwrite(direct, block, 4096, 4096 * (i / 2)) == 4096, "overwrite");
        if (i % 8 == 7)
            need(ftruncate(direct, 4096 * (i / 2 + 3)) == 0, "truncate");
        if (i % 4 == 0) {
            int n = snprintf(line, sizeof(line), "line %u of a log\n", i);
            need(write(through, line, (size_t)n) == n, "log");
        }
    }
    need(lseek(through, 0, SEEK_CUR) > 0, "offset");
    printf("offsets %lld %lld\n", (long long)lseek(direct, 0, SEEK_CUR), (long long)lseek(through, 0, SEEK_CUR));
    close(direct);
    close(through);
    say_file("direct");
    say_file("through");
}

// --- positions in a directory -----------------------------------------------------------------------------

static void list(void)
{
    char name[80];
    int seen[80] = {0}, count = 0;
    need(mkdir("many", 0700) == 0, "mkdir");
    for (int i = 0; i < 80; i++) {
        snprintf(name, sizeof(name), "many/entry-with-a-name-that-takes-some-room-%03d", i);
        need(i % 2 ? mknod(name, S_IFREG | 0600, 0) == 0 : symlink("t", name) == 0, name);
    }
    int fd = open("many", O_RDONLY | O_DIRECTORY);
    need(fd >= 0, "open");
    char buffer[1024];
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) != 0;) {
        need(n > 0, "getdents");
        for (long at = 0; at < n;) {
            struct dirent64 *entry = (struct dirent64 *)(buffer + at);
            int number;
            if (sscanf(entry->d_name, "entry-with-a-name-that-takes-some-room-%d", &number) == 1) {
                need(number >= 0 && number < 80 && !seen[number], "an entry twice");
                seen[number] = 1;
                count++;
                if (number % 10 == 0) {
                    snprintf(name, sizeof(name), "many/%.70s", entry->d_name);
                    need(unlink(name) == 0, "unlink");
                }
            }
            at += entry->d_reclen;
        }
    }
    close(fd);
    printf("%d entries seen\n", count);
}

// --- mapped files ------------------------------------------------------------------------------------------

static void mapped(void)
{
    size_t len = 64 * 4096;
    int fd = open("mapped", O_CREAT | O_EXCL | O_RDWR, 0600);
    need(fd >= 0 && ftruncate(fd, (off_t)len) == 0, "make");
    char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED, "mmap");
    for (unsigned i = 0; i < 64; i += 3) {
        pattern(at + i * 4096, 4096, i);
        if (i % 9 == 0)
            need(msync(at + i * 4096, 4096, i % 2 ? MS_SYNC : MS_ASYNC) == 0, "msync");
        if (i % 12 == 0)
            need(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) == 0, "range");
    }
    need(ftruncate(fd, (off_t)len - 5000) == 0, "truncate");
    pattern(at + 4096, 3 * 4096, 99);
    need(pwrite(fd, "written", 7, 30000) == 7, "pwrite");
    need(munmap(at, len) == 0, "munmap");
    close(fd);
    say_file("mapped");
}

// --- files without names, directories that are gone -----------------------------------------------------------

static void orphans(void)
{
    char text[64] = {0};
    int gone = open("gone", O_CREAT | O_EXCL | O_RDWR, 0600), nameless = open(".", O_TMPFILE | O_RDWR, 0620);
    need(gone >= 0 && nameless >= 0, "open");
    need(write(gone, "before", 6) == 6 && unlink("gone") == 0 && write(gone, " after", 6) == 6, "unlinked");
    need(fsync(gone) == 0 && write(gone, " sync", 5) == 5, "unlinked, synced");
    need(write(nameless, "nameless", 8) == 8, "tmpfile");
    int replaced = open("replaced", O_CREAT | O_EXCL | O_RDWR, 0600);
    need(replaced >= 0 && write(replaced, "old", 3) == 3, "replaced");
    need(mkdir("removed", 0700) == 0 && mkdir("other", 0700) == 0 && chdir("removed") == 0, "chdir");
    say("rmdir of the working directory", rmdir("../removed"));
    say("create in it", open("file", O_CREAT | O_RDWR, 0600));
    say("stat of .", stat(".", &(struct stat){0}));
    say("open of ..", open("..", O_RDONLY | O_DIRECTORY) >= 0 ? 0 : -1);
    need(fchdir(open("..", O_RDONLY | O_DIRECTORY)) == 0, "..");
    need(link("other/../replaced", "keeps") == 0 && unlink("keeps") == 0, "link");
    int other = open("new", O_CREAT | O_EXCL | O_RDWR, 0600);
    need(other >= 0 && write(other, "new", 3) == 3 && rename("new", "replaced") == 0, "replace");
    need(ftruncate(gone, 20) == 0 && pread(gone, text, 20, 0) == 20, "read");
    printf("gone: %s\n", text);
    memset(text, 0, sizeof(text));
    need(pread(replaced, text, 20, 0) == 3, "read");
    printf("replaced: %s\n", text);
    struct stat st;
    need(fstat(replaced, &st) == 0, "fstat");
    printf("replaced: %ld links\n", (long)st.st_nlink);
    snprintf(text, sizeof(text), "/proc/self/fd/%d", nameless);
    say("linkat", linkat(AT_FDCWD, text, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    say("linkat again", linkat(AT_FDCWD, text, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    say_file("named");
    say_file("replaced");
}

// --- locks ----------------------------------------------------------------------------------------------------

static void locks(void)
{
    int fd = open("locked", O_CREAT | O_EXCL | O_RDWR, 0600), tell[2], back[2];
    char byte;
    need(fd >= 0 && pipe(tell) == 0 && pipe(back) == 0, "open");
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
    say("posix lock", fcntl(fd, F_SETLK, &range));
    say("flock", flock(fd, LOCK_EX));
    pid_t child = fork();
    if (child == 0) {
        int mine = open("locked", O_RDWR);
        for (int i = 0; i < 8; i++) {
            struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
            bool refused = fcntl(mine, F_SETLK, &other) < 0, refused_flock = flock(mine, LOCK_EX | LOCK_NB) < 0;
            printf("held %d: %s, %s\n", i, refused ? "kept out" : "LET IN", refused_flock ? "kept out" : "LET IN");
            need(pwrite(mine, "x", 1, i) == 1 && fdatasync(mine) == 0, "work");
        }
        fflush(stdout);
        need(write(back[1], "b", 1) == 1, "tell");
        struct flock wait = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
        printf("waited: %s\n", fcntl(mine, F_SETLKW, &wait) == 0 && flock(mine, LOCK_EX) == 0 ? "got both" : "got none");
        fflush(stdout);
        _exit(0);
    }
    fflush(stdout);
    need(read(back[0], &byte, 1) == 1, "hear");
    for (int i = 0; i < 6; i++)
        need(mkdir("d", 0700) == 0 && rmdir("d") == 0, "work");
    range.l_type = F_UNLCK;
    need(fcntl(fd, F_SETLK, &range) == 0 && flock(fd, LOCK_UN) == 0, "unlock");
    int status;
    need(waitpid(child, &status, 0) == child, "wait");
    printf("child: %d\n", status);
}

// --- LevelDB ----------------------------------------------------------------------------------------------------

#ifdef HAVE_LEVELDB
static void leveldb(void)
{
    char *err = NULL, key[32], value[200];
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_create_if_missing(options, 1);
    leveldb_options_set_paranoid_checks(options, 1);
    leveldb_options_set_write_buffer_size(options, 65536);
    leveldb_writeoptions_t *put = leveldb_writeoptions_create(), *sync = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(sync, 1);
    for (int life = 0; life < 2; life++) {
        leveldb_t *db = leveldb_open(options, "base", &err);
        if (err)
            printf("open: %s\n", err);
        for (int i = 0; db && !err && i < 600; i++) {
            snprintf(key, sizeof(key), "key%06u", (unsigned)(i * 2654435761u) % 1000);
            pattern(value, sizeof(value), (unsigned)(i + life));
            if (i % 7 == 3)
                leveldb_delete(db, put, key, strlen(key), &err);
            else
                leveldb_put(db, i % 100 ? put : sync, key, strlen(key), value, sizeof(value), &err);
        }
        if (err)
            printf("put: %s\n", err);
        if (db)
            leveldb_close(db);
    }
    leveldb_t *db = leveldb_open(options, "base", &err);
    need(db != NULL, err ? err : "open");
    leveldb_readoptions_t *checked = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(checked, 1);
    leveldb_iterator_t *it = leveldb_create_iterator(db, checked);
    uint64_t hash = HASH_START;
    int count = 0;
    for (leveldb_iter_seek_to_first(it); leveldb_iter_valid(it); leveldb_iter_next(it), count++) {
        size_t len;
        const char *at = leveldb_iter_key(it, &len);
        hash = hash_bytes(hash, at, len);
        at = leveldb_iter_value(it, &len);
        hash = hash_bytes(hash, at, len);
    }
    leveldb_iter_get_error(it, &err);
    printf("%d keys, %016" PRIx64 ", %s\n", count, hash, err ? err : "no error");
    leveldb_iter_destroy(it);
    leveldb_close(db);
}
#endif

// --- looking -----------------------------------------------------------------------------------------------------

static void print_xattrs(const char *path)
{
    char names[4096], value[4096];
    ssize_t len = llistxattr(path, names, sizeof(names));
    uint64_t hash = HASH_START;
    if (len < 0 && errno != ENOTSUP)
        printf("\t!%s", strerror(errno));
    else {
        for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
            ssize_t n = lgetxattr(path, names + at, value, sizeof(value));
            hash = hash_bytes(hash_bytes(hash, names + at, strlen(names + at)), value, n < 0 ? 0 : (size_t)n);
        }
        printf("\t%016" PRIx64, len > 0 ? hash : 0);
    }
}

// What the server has, not what the kernel still holds: its pages are written, forgotten and read again.
static void print_content(const char *path, mode_t type)
{
    char text[4096];
    if (S_ISLNK(type)) {
        ssize_t n = readlink(path, text, sizeof(text));
        if (n < 0)
            printf("\t!%s", strerror(errno));
        else
            printf("\t%016" PRIx64, hash_bytes(HASH_START, text, (size_t)n));
    } else if (S_ISREG(type)) {
        int fd = open(path, O_RDONLY | O_NOATIME);
        if (fd < 0) {
            printf("\t!%s", strerror(errno));
            return;
        }
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        printf("\t%016" PRIx64, hash_fd(fd));
        close(fd);
    } else {
        printf("\t-");
    }
}

static void print_time(const struct statx_timestamp *t)
{
    printf("\t%lld", (long long)t->tv_sec * 1000000000ll + t->tv_nsec);
}

// name, type, ino, mode, links, uid, gid, size, mtime, ctime, btime, content, xattrs
static void look(const char *path, const char *shown)
{
    struct statx st;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &st) < 0) {
        printf("%s\t!%s\n", shown, strerror(errno));
        return;
    }
    // The kernel's own unwritten pages go to the server first: they bring times along.
    if (S_ISREG(st.stx_mode)) {
        int fd = open(path, O_RDONLY | O_NOATIME);
        if (fd >= 0) {
            sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
            close(fd);
        }
        if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
            printf("%s\t!%s\n", shown, strerror(errno));
    }
    printf("%s\t%o\t%llu\t%o\t%u\t%u\t%u\t%llu", shown, st.stx_mode & S_IFMT, (unsigned long long)st.stx_ino, st.stx_mode & 07777, st.stx_nlink,
           st.stx_uid, st.stx_gid, (unsigned long long)st.stx_size);
    print_time(&st.stx_mtime);
    print_time(&st.stx_ctime);
    print_time(&st.stx_btime);
    print_content(path, st.stx_mode);
    print_xattrs(path);
    putchar('\n');
    if (!S_ISDIR(st.stx_mode))
        return;
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0)
        printf("%s\t!%s\n", shown, strerror(errno));
    for (int i = 0; i < count; i++) {
        char below[4096], below_shown[4096];
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0 &&
            snprintf(below, sizeof(below), "%s/%s", path, names[i]->d_name) < (int)sizeof(below) &&
            snprintf(below_shown, sizeof(below_shown), "%s/%s", shown, names[i]->d_name) < (int)sizeof(below_shown))
            look(below, below_shown);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
        {"calls", calls}, {"append", append}, {"list", list}, {"mmap", mapped}, {"orphans", orphans}, {"locks", locks},
#ifdef HAVE_LEVELDB
        {"leveldb", leveldb},
#endif
    };
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (argc == 3 && strcmp(argv[1], "look") == 0) {
        look(argv[2], ".");
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "programs") == 0) {
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
            printf("%s\n", all[i].name);
        return 0;
    }
    for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(*all); i++) {
        if (strcmp(argv[1], all[i].name) == 0) {
            all[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: steps look DIR | steps PROGRAM\n");
    return 2;
}
