/* See convert.h. The one place that knows what the dtypes are in memory. Includes convert.h, block.h. */
#include "convert.h"
#include "block.h"
#include "tuning.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

ptrdiff_t csm_itemsize(csm_dtype dtype)
{
    static const unsigned char size[CSM_DTYPES] = {
        [CSM_F32] = 4, [CSM_F64] = 8, [CSM_F16] = 2, [CSM_BF16] = 2, [CSM_BOOL] = 1, [CSM_I8] = 1, [CSM_U8] = 1,
        [CSM_I16] = 2, [CSM_U16] = 2, [CSM_I32] = 4, [CSM_U32] = 4, [CSM_I64] = 8, [CSM_U64] = 8,
    };
    return size[dtype];
}

double csm_rounded(double v, csm_dtype dtype)
{
    volatile double shown;      /* not converted ahead of the conditions, where it may underflow */
    if (dtype != CSM_F32)
        return v;
    shown = fabs(v) < 0x1p-150 ? copysign(0, v) : v;
    return (float)shown;
}

static int is_half(csm_dtype dtype) { return dtype == CSM_F16 || dtype == CSM_BF16; }

static ptrdiff_t at_most(ptrdiff_t most, ptrdiff_t count) { return count < most ? count : most; }

/* Numbers of one dtype that lie anywhere: `stride` bytes apart, and lines of them `step` bytes apart. */
typedef struct { char *at; ptrdiff_t stride, step; } place;

/* From a number of an array to what is to be fetched while it is read: about as far ahead, of the same line or of later
   ones. */
static ptrdiff_t ahead_of(place a, ptrdiff_t lines)
{
    const ptrdiff_t step = lines > 1 && a.step ? a.step : a.stride, size = step < 0 ? -step : step;
    return size ? step * ((MOVE_AHEAD + size - 1) / size) : 0;
}

#define MOVE(bytes) memcpy(dst + k * to.stride, src + k * from.stride, bytes)

/* Four at a time: an address that waits for the one before takes longer than the number. */
#define MOVE_LINES(bytes)                                                               \
    for (ptrdiff_t j = 0; j < lines; j++) {                                             \
        char *dst = to.at + j * to.step;                                                \
        const char *src = from.at + j * from.step;                                      \
        ptrdiff_t left = count;                                                         \
        for (; left >= 4; left -= 4, dst += 4 * to.stride, src += 4 * from.stride) {    \
            __builtin_prefetch(src + read);                                             \
            __builtin_prefetch(dst + written, 1);                                       \
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++)                         \
                MOVE(bytes);                                                            \
        }                                                                               \
        for (int k = 0; k < left; k++)                                                  \
            MOVE(bytes);                                                                \
    }                                                                                   \
    break

/* Continues at `to` what its first `done` bytes are, up to `bytes`. */
static void repeat(char *to, ptrdiff_t done, ptrdiff_t bytes)
{
    for (ptrdiff_t more; done < bytes; done += more) {
        more = at_most(done, bytes - done);
        memcpy(to + done, to, (size_t)more);
    }
}

/* Lines of numbers of `size` bytes. What stands still in `from` is read once. */
static void move(place to, place from, ptrdiff_t size, ptrdiff_t count, ptrdiff_t lines)
{
    if (size == 1 && to.stride == 1 && from.stride == 0) {
        for (ptrdiff_t j = 0; j < lines; j++)
            memset(to.at + j * to.step, from.at[j * from.step], (size_t)count);
        return;
    }
    if (from.step == 0 && lines > 1 && to.stride == size && to.step == count * size) {
        move(to, from, size, count, 1);
        repeat(to.at, count * size, lines * count * size);
        return;
    }
    if (to.stride == size && from.stride == size) {
        for (ptrdiff_t j = 0; j < lines; j++)
            memcpy(to.at + j * to.step, from.at + j * from.step, (size_t)(count * size));
        return;
    }
    const int backwards = (to.stride == size && from.stride == -size) || (to.stride == -size && from.stride == size);
    if (backwards && size >= 4) {
        const csm_table *const table = csm_table_of(size == 4 ? CSM_F32 : CSM_F64);
        const ptrdiff_t last = (count - 1) * size;
        for (ptrdiff_t j = 0; j < lines; j++)
            table->reverse(to.at + j * to.step - (to.stride < 0 ? last : 0),
                           from.at + j * from.step - (from.stride < 0 ? last : 0), count);
        return;
    }
    const ptrdiff_t read = ahead_of(from, lines), written = ahead_of(to, lines);
    switch (size) {
    case 1: MOVE_LINES(1);
    case 2: MOVE_LINES(2);
    case 4: MOVE_LINES(4);
    default: MOVE_LINES(8);
    }
}

#define SWAP(swapped)                                                       \
    do {                                                                    \
        ptrdiff_t k = 0;                                                    \
        for (; k + CSM_LINE <= bytes; k += CSM_LINE) {                      \
            __builtin_prefetch(src + k + MOVE_AHEAD);                       \
            _Pragma("GCC unroll 8") for (int i = 0; i < CSM_LINE; i += 8) { \
                uint64_t v;                                                 \
                memcpy(&v, src + k + i, sizeof v);                          \
                v = swapped;                                                \
                memcpy(dst + k + i, &v, sizeof v);                          \
            }                                                               \
        }                                                                   \
        for (; k < bytes; k += 8) {                                         \
            const size_t some = (size_t)at_most(8, bytes - k);              \
            uint64_t v = 0;                                                 \
            memcpy(&v, src + k, some);                                      \
            v = swapped;                                                    \
            memcpy(dst + k, &v, some);                                      \
        }                                                                   \
    } while (0)

/* The bytes of adjacent numbers turned around, of all at once that 8 bytes hold. */
static void swap(char *dst, const char *src, ptrdiff_t size, ptrdiff_t count)
{
    const uint64_t low = 0x00ff00ff00ff00ff;
    const ptrdiff_t bytes = count * size;
    if (size == 2)
        SWAP((v & low) << 8 | (v >> 8 & low));
    else if (size == 4)
        SWAP(__builtin_bswap64(v) << 32 | __builtin_bswap64(v) >> 32);
    else
        SWAP(__builtin_bswap64(v));
}

/* `a` to float, but where that is inexact to its neighbour of odd last bit: rounded on to fewer bits, it gives what
   `a` itself rounds to (Boldo and Melquiond 2008). */
static float to_odd(double a)
{
    float f = (float)a;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (f != a && bits % 2 == 0)
        bits += fabs((double)f) > fabs(a) ? -1u : 1u;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The same of UNROLLED numbers: the bits that a float lacks are ORed into its last one. A subnormal float has fewer
   bits than that, so that one of these sends them all to `to_odd`. */
static void many_to_odd(float *to, const double *from)
{
    const uint64_t beyond = ((uint64_t)1 << 29) - 1, last = beyond + 1;
    double odd[UNROLLED];
    int subnormal = 0;
    for (int k = 0; k < UNROLLED; k++) {
        uint64_t bits;
        memcpy(&bits, from + k, sizeof bits);
        bits = (bits & ~beyond) | (((bits & beyond) + beyond) & last);
        memcpy(odd + k, &bits, sizeof bits);
    }
    for (int k = 0; k < UNROLLED; k++)
        to[k] = (float)odd[k];
    for (int k = 0; k < UNROLLED; k++)
        subnormal |= (fabsf(to[k]) < FLT_MIN) & (to[k] != 0);
    for (int k = 0; subnormal && k < UNROLLED; k++)
        to[k] = to_odd(from[k]);
}

/* One of the two is a 16-bit type, the other float32 or float64. */
static void convert_half(char *dst, csm_dtype to, const char *src, csm_dtype from, ptrdiff_t count)
{
    const csm_table *table = csm_table_of(CSM_F32);
    if (to == CSM_F32)
        table->widen[from - CSM_F16]((float *)dst, src, count);
    else if (from == CSM_F32)
        table->narrow[to - CSM_F16](dst, (const float *)src, count);
    else
        for (ptrdiff_t i = 0; i < count; i += CONVERTED_AT_ONCE) {
            const ptrdiff_t n = at_most(CONVERTED_AT_ONCE, count - i);
            float part[CONVERTED_AT_ONCE];
            if (to == CSM_F64) {
                table->widen[from - CSM_F16](part, src + 2 * i, n);
                for (ptrdiff_t k = 0; k < n; k++)
                    ((double *)dst)[i + k] = part[k];
            } else {
                const double *numbers = (const double *)src + i;
                ptrdiff_t k = 0;
                for (; k + UNROLLED <= n; k += UNROLLED)
                    many_to_odd(part + k, numbers + k);
                for (; k < n; k++)
                    part[k] = to_odd(numbers[k]);
                table->narrow[to - CSM_F16](dst + 2 * i, part, n);
            }
        }
}

#define ASSIGN(to_type, from_type, many)                                                        \
    for (ptrdiff_t i = 0; i < (many); i++, src += sizeof(from_type), dst += sizeof(to_type)) {  \
        from_type v;                                                                            \
        memcpy(&v, src, sizeof v);                                                              \
        const to_type w = (to_type)v;                                                           \
        memcpy(dst, &w, sizeof w);                                                              \
    }

#define ASSIGN_ALL(to_type, from_type)                  \
    do {                                                \
        for (; count >= UNROLLED; count -= UNROLLED)    \
            ASSIGN(to_type, from_type, UNROLLED)        \
        ASSIGN(to_type, from_type, count)               \
    } while (0)

#define FROM(type)                  \
    if (to == CSM_F32)              \
        ASSIGN_ALL(float, type);    \
    else if (to == CSM_F64)         \
        ASSIGN_ALL(double, type);   \
    else                            \
        ASSIGN_ALL(int64_t, type);  \
    break

/* `count` adjacent native numbers to others. float32 and float64 are aligned if the other is a 16-bit type. Floats go
   to floats alone. */
static void convert(char *restrict dst, csm_dtype to, const char *restrict src, csm_dtype from, ptrdiff_t count)
{
    if (from == to) {
        memcpy(dst, src, (size_t)(count * csm_itemsize(to)));
        return;
    }
    if (is_half(from) || is_half(to)) {
        convert_half(dst, to, src, from, count);
        return;
    }
    switch (from) {
    case CSM_F32: ASSIGN_ALL(double, float); break;
    case CSM_F64: ASSIGN_ALL(float, double); break;
    case CSM_I8: FROM(int8_t);
    case CSM_I16: FROM(int16_t);
    case CSM_I32: FROM(int32_t);
    case CSM_I64: FROM(int64_t);
    case CSM_BOOL:
    case CSM_U8: FROM(uint8_t);
    case CSM_U16: FROM(uint16_t);
    case CSM_U32: FROM(uint32_t);
    case CSM_U64: FROM(uint64_t);
    case CSM_F16:
    case CSM_BF16:
    case CSM_DTYPES: break;
    }
}

/* A part of a line, of at most CONVERTED_AT_ONCE numbers unless one step takes them from one end to the other. */
static void convert_part(const csm_lines *to, char *dst, const csm_lines *from, char *src, ptrdiff_t count)
{
    const ptrdiff_t size = csm_itemsize(from->dtype), to_size = csm_itemsize(to->dtype);
    const int converts = to->dtype != from->dtype;      /* else the bytes turn around */
    char gathered[CONVERTED_AT_ONCE * sizeof(double)], made[CONVERTED_AT_ONCE * sizeof(double)];
    char *const result = to->stride != to_size || (converts && to->swapped) ? made : dst;
    if (from->stride != size) {
        move((place){gathered, size, 0}, (place){src, from->stride, 0}, size, count, 1);
        src = gathered;
    }
    if (converts && from->swapped) {
        swap(gathered, src, size, count);
        src = gathered;
    }
    if (converts)
        convert(result, to->dtype, src, from->dtype, count);
    else
        swap(result, src, size, count);
    if (converts && to->swapped)
        swap(made, made, to_size, count);
    if (result == made)
        move((place){dst, to->stride, 0}, (place){made, to_size, 0}, to_size, count, 1);
}

void csm_convert(csm_lines to, csm_lines from, ptrdiff_t count, ptrdiff_t lines)
{
    const ptrdiff_t size = csm_itemsize(from.dtype), to_size = csm_itemsize(to.dtype);
    if (count == 0)
        return;                 /* of arrays that may be nowhere */
    if (lines > 1 && to.step == count * to.stride && from.step == count * from.stride) {
        count *= lines;
        lines = 1;
    }
    if (to.dtype == from.dtype && to.swapped == from.swapped) {
        move((place){to.data, to.stride, to.step}, (place){from.data, from.stride, from.step}, size, count, lines);
        return;
    }
    const int swaps = to.dtype != from.dtype && (from.swapped || to.swapped);
    const int direct = from.stride == size && to.stride == to_size && !swaps;
    for (ptrdiff_t j = 0; j < lines; j++, to.data += to.step, from.data += from.step)
        for (ptrdiff_t i = 0, n; i < count; i += n) {
            n = direct ? count : at_most(CONVERTED_AT_ONCE, count - i);
            convert_part(&to, to.data + i * to.stride, &from, from.data + i * from.stride, n);
        }
}
