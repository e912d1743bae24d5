/* Preloaded into dcmtk's storescp: each file that it wrote is flushed, bytes and name, when it is closed.
 *
 *     cc -shared -fPIC -O2 -o flush_on_close.so flush_on_close.c -ldl
 *     LD_PRELOAD=./flush_on_close.so storescp --fork ...
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int plain_close(int descriptor)
{
    static int (*found)(int);
    if (!found)
        found = dlsym(RTLD_NEXT, "close");
    return found(descriptor);
}

static void flush(int descriptor)
{
    struct stat about;
    char link[64], path[PATH_MAX];
    if (fstat(descriptor, &about) || !S_ISREG(about.st_mode) || !about.st_size)
        return;
    if ((fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return;
    fdatasync(descriptor);
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = 0;
    *strrchr(path, '/') = 0;
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    if (folder < 0)
        return;
    fsync(folder);
    plain_close(folder);
}

int close(int descriptor)
{
    flush(descriptor);
    return plain_close(descriptor);
}

int fclose(FILE *file)
{
    static int (*found)(FILE *);
    if (!found)
        found = dlsym(RTLD_NEXT, "fclose");
    fflush(file);
    flush(fileno(file));
    return found(file);
}
