/* Runs of 16-bit numbers to and from `real`, where the vector layer converts them (V_HALF). */
#ifndef CSM_HALF_H
#define CSM_HALF_H

#include "../block.h"
#include "../vec/vec.h"

#ifdef V_HALF

#define WIDEN(name, load)                                               \
    static void name(real *dst, const char *src, ptrdiff_t n)           \
    {                                                                   \
        const ptrdiff_t whole = n - n % V_LANES;                        \
        for (ptrdiff_t i = 0; i < whole; i += V_LANES)                  \
            v_store(dst + i, load(src + 2 * i));                        \
        if (whole < n) {                                                \
            char tail[2 * V_LANES] = {0};                               \
            memcpy(tail, src + 2 * whole, (size_t)(2 * (n - whole)));   \
            v_store_n(dst + whole, load(tail), n - whole);              \
        }                                                               \
    }

#define NARROW(name, store)                                             \
    static void name(char *dst, const real *src, ptrdiff_t n)           \
    {                                                                   \
        const ptrdiff_t whole = n - n % V_LANES;                        \
        for (ptrdiff_t i = 0; i < whole; i += V_LANES)                  \
            store(dst + 2 * i, v_load(src + i));                        \
        if (whole < n) {                                                \
            char tail[2 * V_LANES];                                     \
            store(tail, v_load_n(src + whole, n - whole, 0));           \
            memcpy(dst + 2 * whole, tail, (size_t)(2 * (n - whole)));   \
        }                                                               \
    }

WIDEN(widen_half, v_load_half)
WIDEN(widen_bfloat, v_load_bfloat)
NARROW(narrow_half, v_store_half)
NARROW(narrow_bfloat, v_store_bfloat)

#define CONVERSIONS {widen_half, widen_bfloat}, {narrow_half, narrow_bfloat}

#else
#define CONVERSIONS {NULL, NULL}, {NULL, NULL}
#endif

#endif
