// LMDB, and the two file calls beside it that C libraries declare for some only of those who include their headers.
#ifndef MARTLET_CLMDB_H
#define MARTLET_CLMDB_H

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

// As <fcntl.h> has it with _GNU_SOURCE, which a header within a module cannot define in time.
int fallocate(int fd, int mode, off_t offset, off_t length);

/// Gives the space of whole blocks of the file back to the file system; they read as zeros, and the file keeps its
/// length. A negative result is the negated error number.
static inline int martlet_punch_hole(int fd, int64_t offset, int64_t length) {
    // FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    const int mode = 0x02 | 0x01;
    int result;
    do result = fallocate(fd, mode, (off_t)offset, (off_t)length);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

/// Where the file next takes space, at `offset` or behind it: INT64_MAX for nowhere, `offset` where the file system
/// cannot tell. Moves the descriptor's position.
static inline int64_t martlet_next_data(int fd, int64_t offset) {
    // SEEK_DATA
    off_t found = lseek(fd, (off_t)offset, 3);
    if (found >= 0) return (int64_t)found;
    return errno == ENXIO ? INT64_MAX : offset;
}

/// Where the file next takes no space, at `offset` or behind it; INT64_MAX where the file system cannot tell. Moves the
/// descriptor's position.
static inline int64_t martlet_next_hole(int fd, int64_t offset) {
    // SEEK_HOLE
    off_t found = lseek(fd, (off_t)offset, 4);
    return found >= 0 ? (int64_t)found : INT64_MAX;
}

#endif
