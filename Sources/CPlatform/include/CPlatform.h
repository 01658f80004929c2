// What Swift cannot spell or cannot do fast: CRC32C with the processor's instruction, and a few system calls whose
// names differ between C libraries.
#ifndef MARTLET_CSYSTEM_H
#define MARTLET_CSYSTEM_H

#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `count` bytes, continuing from `crc` (0 to start).
uint32_t martlet_crc32c(uint32_t crc, const void *bytes, size_t count);

#endif
