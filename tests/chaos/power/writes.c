/* Records what a process does to the files of one folder, to be put before libc by LD_PRELOAD.
 *
 * CHAOS_WRITES is the recording, CHAOS_WRITES_UNDER the folder whose files (and which itself) are recorded.
 * A record is a head, the path and the data, in one append: the order of the file is the order of things.
 * A write is recorded once it is done, a sync once when it begins and once when it is done; so whatever stands
 * before the first of the two is durable at the second.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    uint8_t what;
    uint8_t unused;
    uint16_t path_size;
    uint32_t data_size;
    uint64_t offset;
};

static int recording = -1;
static const char *folder;

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("CHAOS_WRITES");
    folder = getenv("CHAOS_WRITES_UNDER");
    if (file != NULL && folder != NULL)
        recording = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int is_ours(const char *path)
{
    size_t size = strlen(path), end = 4;
    if (recording < 0 || strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    return size < end || strcmp(path + size - end, "-shm") != 0;
}

static void put(uint8_t what, const char *path, uint64_t offset, const void *data, uint32_t data_size)
{
    struct head head = {what, 0, (uint16_t)strlen(path), data_size, offset};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)path, head.path_size}, {(void *)data, data_size}};
    ssize_t whole = (ssize_t)(sizeof head + head.path_size + data_size);
    if (syscall(SYS_writev, recording, parts, 3) != whole)
        abort(); /* a recording with a hole in it would prove nothing */
}

static int path_of(int fd, char *path, size_t room)
{
    char link[64];
    ssize_t size;
    if (recording < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, room - 1);
    if (size < 0)
        return 0;
    path[size] = '\0';
    return is_ours(path);
}

static void put_fd(uint8_t what, int fd, uint64_t offset, const void *data, uint32_t data_size)
{
    char path[4096];
    if (path_of(fd, path, sizeof path))
        put(what, path, offset, data, data_size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (done > 0)
        put_fd('w', fd, (uint64_t)offset, data, (uint32_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite64(fd, data, size, offset);
}

int ftruncate64(int fd, off64_t size)
{
    int failed = (int)syscall(SYS_ftruncate, fd, size);
    if (!failed)
        put_fd('t', fd, (uint64_t)size, NULL, 0);
    return failed;
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

static int synced(long number, int fd)
{
    int failed;
    put_fd('b', fd, 0, NULL, 0);
    failed = (int)syscall(number, fd);
    if (!failed)
        put_fd('s', fd, 0, NULL, 0);
    return failed;
}

int fsync(int fd)
{
    return synced(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return synced(SYS_fdatasync, fd);
}

int unlink(const char *path)
{
    char whole[4096];
    int failed = (int)syscall(SYS_unlink, path);
    if (!failed && path[0] == '/' && is_ours(path))
        put('u', path, 0, NULL, 0);
    else if (!failed && path[0] != '/' && getcwd(whole, sizeof whole / 2) != NULL) {
        strcat(whole, "/");
        strncat(whole, path, sizeof whole / 2 - 2);
        if (is_ours(whole))
            put('u', whole, 0, NULL, 0);
    }
    return failed;
}
