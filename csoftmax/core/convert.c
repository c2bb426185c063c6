/* See convert.h. The one place that knows what the dtypes are in memory. Includes convert.h, kernels.h. */
#include "convert.h"
#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Numbers that are gathered or converted in two steps at a time. */
enum { BATCH = 128 };

/* Numbers per turn of a loop: a constant, for gcc's -O2 makes vectors of no other loop; and counted from 0, for with
   Python's -fwrapv it knows no other constant. */
enum { CHUNK = 16 };

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

/* Copies a number that need not be aligned, turning its bytes around if asked. */
static inline void fetch(void *to, const char *from, size_t size, int swapped)
{
    memcpy(to, from, size);
    if (swapped)
        for (size_t i = 0; i < size / 2; i++) {
            char *c = to, t = c[i];
            c[i] = c[size - 1 - i];
            c[size - 1 - i] = t;
        }
}

#define MOVE(bytes)                                             \
    for (ptrdiff_t i = 0; i < count; i++)                       \
        fetch(dst + i * step, src + i * stride, bytes, swapped)

/* `count` numbers of `size` bytes, `stride` bytes apart at src and `step` at dst. */
static void move(char *dst, ptrdiff_t step, const char *src, ptrdiff_t stride,
                 ptrdiff_t size, int swapped, ptrdiff_t count)
{
    switch (size) {
    case 1: MOVE(1); break;
    case 2: MOVE(2); break;
    case 4: MOVE(4); break;
    default: MOVE(8);
    }
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

/* One of the two is a 16-bit type, the other float32 or float64. */
static void convert_halves(char *dst, csm_dtype to, const char *src, csm_dtype from, ptrdiff_t count)
{
    const csm_table *table = csm_table_of(CSM_F32);
    if (to == CSM_F32)
        table->widen[from - CSM_F16]((float *)dst, src, count);
    else if (from == CSM_F32)
        table->narrow[to - CSM_F16](dst, (const float *)src, count);
    else
        for (ptrdiff_t i = 0; i < count; i += BATCH) {
            const ptrdiff_t n = at_most(BATCH, count - i);
            float batch[BATCH];
            if (to == CSM_F64) {
                table->widen[from - CSM_F16](batch, src + 2 * i, n);
                for (ptrdiff_t k = 0; k < n; k++)
                    ((double *)dst)[i + k] = batch[k];
            } else {
                for (ptrdiff_t k = 0; k < n; k++)
                    batch[k] = to_odd(((const double *)src)[i + k]);
                table->narrow[to - CSM_F16](dst + 2 * i, batch, n);
            }
        }
}

#define ASSIGN(to_type, from_type, many)                                                \
    for (ptrdiff_t i = 0; i < (many); i++, src += sizeof(from_type), dst += sizeof(to_type)) { \
        from_type v;                                                                    \
        memcpy(&v, src, sizeof v);                                                      \
        const to_type w = (to_type)v;                                                   \
        memcpy(dst, &w, sizeof w);                                                      \
    }

#define ASSIGN_ALL(to_type, from_type)                                                  \
    do {                                                                                \
        for (; count >= CHUNK; count -= CHUNK)                                          \
            ASSIGN(to_type, from_type, CHUNK)                                           \
        ASSIGN(to_type, from_type, count)                                               \
    } while (0)

#define FROM(type)                      \
    if (to == CSM_F32)                  \
        ASSIGN_ALL(float, type);        \
    else if (to == CSM_F64)             \
        ASSIGN_ALL(double, type);       \
    else                                \
        ASSIGN_ALL(int64_t, type);      \
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
        convert_halves(dst, to, src, from, count);
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

void csm_read(void *dst, csm_dtype to, const char *src, csm_dtype from, int swapped, ptrdiff_t stride, ptrdiff_t count)
{
    const ptrdiff_t size = csm_itemsize(from), step = csm_itemsize(to);
    if (stride == size && !swapped)
        convert(dst, to, src, from, count);
    else if (from == to)
        move(dst, step, src, stride, size, swapped, count);
    else
        for (ptrdiff_t i = 0; i < count; i += BATCH) {
            const ptrdiff_t n = at_most(BATCH, count - i);
            char batch[BATCH * sizeof(double)];
            move(batch, size, src + i * stride, stride, size, swapped, n);
            convert((char *)dst + i * step, to, batch, from, n);
        }
}

void csm_write(char *dst, csm_dtype to, int swapped, ptrdiff_t stride, const void *src, csm_dtype from, ptrdiff_t count)
{
    const ptrdiff_t size = csm_itemsize(to), step = csm_itemsize(from);
    if (stride == size && !swapped)
        convert(dst, to, src, from, count);
    else if (from == to)
        move(dst, stride, src, step, size, swapped, count);
    else
        for (ptrdiff_t i = 0; i < count; i += BATCH) {
            const ptrdiff_t n = at_most(BATCH, count - i);
            char batch[BATCH * sizeof(double)];
            convert(batch, to, (const char *)src + i * step, from, n);
            move(dst + i * stride, stride, batch, size, size, swapped, n);
        }
}

/* By bits: a branch would be foreseen as badly as a mask is random, and of a comparison gcc makes no vectors here. */
#define HIDE(bits, many)                                                        \
    for (ptrdiff_t i = 0; i < (many); i++, x += sizeof(bits)) {                 \
        const bits keep = -((bits)((unsigned char)*where++ + 255) >> 8);        \
        bits a;                                                                 \
        memcpy(&a, x, sizeof a);                                                \
        a = (a & keep) | (hidden & ~keep);                                      \
        memcpy(x, &a, sizeof a);                                                \
    }

#define HIDE_ALL(type, bits)                            \
    do {                                                \
        const type value = (type)v;                     \
        bits hidden;                                    \
        memcpy(&hidden, &value, sizeof hidden);         \
        for (; count >= CHUNK; count -= CHUNK)          \
            HIDE(bits, CHUNK)                           \
        HIDE(bits, count)                               \
    } while (0)

void csm_hide(char *restrict x, csm_dtype dtype, const char *restrict where, ptrdiff_t count, double v)
{
    if (dtype == CSM_F32)
        HIDE_ALL(float, uint32_t);
    else
        HIDE_ALL(double, uint64_t);
}
