// File calls as Swift wants them: no errno in a thread-local variable (a negative result is the negated error number),
// interrupted calls repeated, and the names that differ between C libraries settled here.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CPlatform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

int martlet_enospc(void) { return ENOSPC; }
int martlet_edquot(void) { return EDQUOT; }
int martlet_enoent(void) { return ENOENT; }
int martlet_eexist(void) { return EEXIST; }
int martlet_eio(void) { return EIO; }
int martlet_ebadf(void) { return EBADF; }
int martlet_ewouldblock(void) { return EWOULDBLOCK; }

void martlet_error_text(int error, char *text, size_t capacity) {
    // strerror_r has two signatures; strerrordesc_np has one, but not everywhere. strerror is not safe between threads.
#if defined(__GLIBC__)
    const char *words = strerror_r(error, text, capacity);
    if (words != text) snprintf(text, capacity, "%s", words);
#else
    if (strerror_r(error, text, capacity) != 0) snprintf(text, capacity, "error %d", error);
#endif
}

int martlet_open(const char *path, int mode) {
    int flags = O_CLOEXEC;
    switch (mode) {
        case MARTLET_OPEN_READ_ONLY: flags |= O_RDONLY; break;
        case MARTLET_OPEN_READ_WRITE: flags |= O_RDWR; break;
        case MARTLET_OPEN_CREATE: flags |= O_RDWR | O_CREAT; break;
        case MARTLET_OPEN_CREATE_EXCLUSIVE: flags |= O_RDWR | O_CREAT | O_EXCL; break;
        default: flags |= O_RDONLY | O_DIRECTORY; break;
    }
    int fd;
    do fd = open(path, flags, 0600);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

// Linux frees the descriptor even when close reports EINTR: it must not be closed again.
int martlet_close(int fd) { return close(fd) == 0 || errno == EINTR ? 0 : -errno; }

int64_t martlet_read(int fd, void *bytes, size_t count, int64_t offset) {
    size_t done = 0;
    while (done < count) {
        ssize_t n = pread(fd, (char *)bytes + done, count - done, (off_t)(offset + (int64_t)done));
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -(int64_t)errno;
        done += (size_t)n;
    }
    return (int64_t)done;
}

int martlet_write(int fd, const void *bytes, size_t count, int64_t offset) {
    size_t done = 0;
    while (done < count) {
        ssize_t n = pwrite(fd, (const char *)bytes + done, count - done, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        if (n == 0) return -EIO;
        done += (size_t)n;
    }
    return 0;
}

int martlet_sync_data(int fd) {
    int result;
    do result = fdatasync(fd);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

int martlet_sync_directory(const char *path) {
    int fd = martlet_open(path, MARTLET_OPEN_DIRECTORY);
    if (fd < 0) return fd;
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    int error = result == 0 ? 0 : -errno;
    close(fd);
    return error;
}

int martlet_begin_writeback(int fd) {
#ifdef SYNC_FILE_RANGE_WRITE
    int result;
    do result = sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
    while (result != 0 && errno == EINTR);
    // File systems that cannot do it are synced later all the same.
    if (result != 0 && errno != ENOSYS && errno != EINVAL && errno != ESPIPE) return -errno;
#else
    (void)fd;
#endif
    return 0;
}

// posix_fallocate writes a byte per block where the file system has no such call: slow, but the room is there.
int martlet_preallocate(int fd, int64_t size) {
    int error;
    do error = posix_fallocate(fd, 0, (off_t)size);
    while (error == EINTR);
    return -error;
}

int martlet_truncate(int fd, int64_t size) {
    int result;
    do result = ftruncate(fd, (off_t)size);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

int64_t martlet_descriptor_size(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 ? (int64_t)about.st_size : -(int64_t)errno;
}

int64_t martlet_path_size(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? (int64_t)about.st_size : -(int64_t)errno;
}

int martlet_create_directory(const char *path) {
    if (mkdir(path, 0700) == 0) return 0;
    if (errno != EEXIST) return -errno;
    struct stat about;
    if (stat(path, &about) != 0) return -errno;
    return S_ISDIR(about.st_mode) ? 0 : -ENOTDIR;
}

int martlet_rename(const char *from, const char *to) { return rename(from, to) == 0 ? 0 : -errno; }
int martlet_remove(const char *path) { return unlink(path) == 0 ? 0 : -errno; }

int martlet_list(const char *path, void (*name)(void *context, const char *name), void *context) {
    DIR *directory = opendir(path);
    if (!directory) return -errno;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (!entry) break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) name(context, entry->d_name);
    }
    int error = errno;
    closedir(directory);
    return -error;
}

int martlet_lock(int fd) {
    int result;
    do result = flock(fd, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

int martlet_free_bytes(const char *path, uint64_t *bytes) {
    struct statvfs about;
    if (statvfs(path, &about) != 0) return -errno;
    *bytes = (uint64_t)about.f_bavail * about.f_frsize;
    return 0;
}

int martlet_process_id(void) { return (int)getpid(); }

uintptr_t martlet_thread(void) { return (uintptr_t)pthread_self(); }

uint64_t martlet_monotonic_nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
