// CRC-32C. On x86-64 with SSE4.2 the crc32 instruction takes 8 bytes, and gives its result 3 cycles later: three runs of
// bytes are under way at a time, and their checksums are put together with a table (a checksum is linear: that of bytes
// with `n` zeros behind them follows from theirs alone). Elsewhere a table of 256 entries.
#include "CPlatform.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u  // reflected 0x1EDC6F41

// Lengths of a run of bytes, of which three are taken at a time.
#define LONG_RUN 4096
#define SHORT_RUN 256

static uint32_t table[256];
// What a run of zeros makes of a checksum, by the checksum's bytes.
static uint32_t after_long_run[4][256];
static uint32_t after_short_run[4][256];

static void fill_zeros(uint32_t zeros[4][256], size_t run) {
    uint32_t bits[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t c = (uint32_t)1 << bit;
        for (size_t i = 0; i < run; i++) c = table[c & 0xff] ^ (c >> 8);
        bits[bit] = c;
    }
    for (int place = 0; place < 4; place++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t c = 0;
            for (int bit = 0; bit < 8; bit++)
                if (byte >> bit & 1) c ^= bits[place * 8 + bit];
            zeros[place][byte] = c;
        }
}

__attribute__((constructor)) static void fill_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = (c & 1) ? (c >> 1) ^ POLYNOMIAL : c >> 1;
        table[i] = c;
    }
    fill_zeros(after_long_run, LONG_RUN);
    fill_zeros(after_short_run, SHORT_RUN);
}

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t n) {
    while (n--) crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

static uint32_t after_zeros(uint32_t zeros[4][256], uint32_t c) {
    return zeros[0][c & 0xff] ^ zeros[1][c >> 8 & 0xff] ^ zeros[2][c >> 16 & 0xff] ^ zeros[3][c >> 24];
}

// Takes three runs of `run` bytes each, a multiple of 8.
__attribute__((target("sse4.2"))) static inline uint64_t three_runs(
    uint64_t c, const uint8_t *p, size_t run, uint32_t zeros[4][256]) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < run; i += 8) {
        uint64_t words[3];
        memcpy(&words[0], p + i, 8);
        memcpy(&words[1], p + run + i, 8);
        memcpy(&words[2], p + 2 * run + i, 8);
        c = _mm_crc32_u64(c, words[0]);
        second = _mm_crc32_u64(second, words[1]);
        third = _mm_crc32_u64(third, words[2]);
    }
    c = after_zeros(zeros, (uint32_t)c) ^ second;
    return after_zeros(zeros, (uint32_t)c) ^ third;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t c = crc;
    for (; n >= 3 * LONG_RUN; p += 3 * LONG_RUN, n -= 3 * LONG_RUN) c = three_runs(c, p, LONG_RUN, after_long_run);
    for (; n >= 3 * SHORT_RUN; p += 3 * SHORT_RUN, n -= 3 * SHORT_RUN) c = three_runs(c, p, SHORT_RUN, after_short_run);
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = _mm_crc32_u64(c, word);
        p += 8;
        n -= 8;
    }
    while (n--) c = _mm_crc32_u8((uint32_t)c, *p++);
    return (uint32_t)c;
}
#endif

uint32_t martlet_crc32c(uint32_t crc, const void *bytes, size_t count) {
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~by_instruction(crc, bytes, count);
#endif
    return ~by_table(crc, bytes, count);
}
