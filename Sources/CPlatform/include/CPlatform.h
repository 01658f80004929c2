// What Swift cannot spell or cannot do fast: CRC32C with the processor's instruction, and a few system calls whose
// names differ between C libraries.
#ifndef MARTLET_CSYSTEM_H
#define MARTLET_CSYSTEM_H

#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `count` bytes, continuing from `crc` (0 to start).
uint32_t martlet_crc32c(uint32_t crc, const void *bytes, size_t count);

// Files (files.c). A negative result is the negated error number; interrupted calls are repeated.
enum {
    MARTLET_OPEN_READ_ONLY = 0,
    MARTLET_OPEN_READ_WRITE = 1,
    MARTLET_OPEN_CREATE = 2,
    MARTLET_OPEN_CREATE_EXCLUSIVE = 3,
    MARTLET_OPEN_DIRECTORY = 4,
};
/// Error numbers, which Swift sees under a different module in each C library.
int martlet_enospc(void);
int martlet_edquot(void);
int martlet_enoent(void);
int martlet_eexist(void);
int martlet_eio(void);
int martlet_ebadf(void);
int martlet_ewouldblock(void);
/// The words for an error number, cut to `capacity` with the closing zero.
void martlet_error_text(int error, char *text, size_t capacity);
/// Opens with one of the modes above; new files get mode 0600.
int martlet_open(const char *path, int mode);
int martlet_close(int fd);
/// Reads until `count` bytes or the end of the file; how many were read.
int64_t martlet_read(int fd, void *bytes, size_t count, int64_t offset);
/// Writes all of the bytes.
int martlet_write(int fd, const void *bytes, size_t count, int64_t offset);
int martlet_sync_data(int fd);
int martlet_sync_directory(const char *path);
/// Begins to write out what is dirty of a file, after what was begun before has come to its end, and makes nothing
/// durable: so that the sync that comes later has little to do, and others' syncs never wait for more than one such
/// piece. Does nothing where the system has no such call.
int martlet_begin_writeback(int fd);
/// Makes the file at least `size` bytes long, with room for all of them.
int martlet_preallocate(int fd, int64_t size);
int martlet_truncate(int fd, int64_t size);
int64_t martlet_descriptor_size(int fd);
int64_t martlet_path_size(const char *path);
/// Mode 0700; a directory that exists is no error.
int martlet_create_directory(const char *path);
int martlet_rename(const char *from, const char *to);
int martlet_remove(const char *path);
/// Calls `name` for each name in the directory, in no order.
int martlet_list(const char *path, void (*name)(void *context, const char *name), void *context);
/// Exclusive, without waiting: -EWOULDBLOCK when another holds it.
int martlet_lock(int fd);
int martlet_free_bytes(const char *path, uint64_t *bytes);
int martlet_process_id(void);
/// Tells the running threads of this process apart.
uintptr_t martlet_thread(void);
uint64_t martlet_monotonic_nanoseconds(void);

/// Names the calling thread (at most 15 bytes count), for `top -H` and `perf`.
void martlet_set_thread_name(const char *name);

/// Sleeps while `*word` is `expected`, at most `nanoseconds` (UINT64_MAX: without limit); may return early.
void martlet_futex_wait(uint32_t *word, uint32_t expected, uint64_t nanoseconds);
/// Wakes one thread that sleeps on `word`.
void martlet_futex_wake(uint32_t *word);
/// Stores and loads that order what stands before and after them.
void martlet_store_release(uint32_t *word, uint32_t value);
uint32_t martlet_load_acquire(const uint32_t *word);

#endif
