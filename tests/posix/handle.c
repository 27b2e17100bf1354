// SPDX-License-Identifier: MIT
// handle.c - file handles as an NFS server keeps them: over restarts of the filesystem.
//
//   handle save FILE HANDLE      writes FILE's handle into the file HANDLE
//   handle read DIR HANDLE       opens it again through any directory of the mount, prints the content
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

union handle {
    struct file_handle head;
    unsigned char bytes[sizeof(struct file_handle) + 128];
};

static int save(const char *file, const char *to)
{
    union handle handle = {.head.handle_bytes = 128};
    int mount_id;
    if (name_to_handle_at(AT_FDCWD, file, &handle.head, &mount_id, 0) < 0)
        return perror("name_to_handle_at"), 1;
    FILE *out = fopen(to, "w");
    int ok = out && fwrite(&handle, sizeof(handle), 1, out) == 1;
    return out && fclose(out) == 0 && ok ? 0 : 1;
}

static int read_back(const char *dir, const char *from)
{
    union handle handle;
    char content[4096];
    FILE *in = fopen(from, "r");
    if (!in || fread(&handle, sizeof(handle), 1, in) != 1)
        return perror(from), 1;
    fclose(in);
    int at = open(dir, O_RDONLY | O_DIRECTORY), fd = open_by_handle_at(at, &handle.head, O_RDONLY);
    if (fd < 0)
        return perror("open_by_handle_at"), 1;
    ssize_t got = read(fd, content, sizeof(content));
    return got < 0 || fwrite(content, 1, (size_t)got, stdout) != (size_t)got;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "save") == 0)
        return save(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "read") == 0)
        return read_back(argv[2], argv[3]);
    fprintf(stderr, "usage: handle save FILE HANDLE | handle read DIR HANDLE\n");
    return 2;
}
