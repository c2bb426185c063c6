/* The transpose of a matrix, and a line backwards, for staging. */
#ifndef CSM_TRANSPOSE_MATRIX_H
#define CSM_TRANSPOSE_MATRIX_H

#include "tile.h"
#include "transpose.h"

/* A square of V_LANES by V_LANES, of which `rows` by `n` are there. */
CSM_INLINE void transpose_square(elem *to, ptrdiff_t ts, const elem *from, ptrdiff_t fs, ptrdiff_t rows, ptrdiff_t n)
{
    vec v[V_LANES];
    _Pragma("GCC unroll 16") for (int i = 0; i < V_LANES; i++)
        v[i] = i < rows ? load_part(from + i * fs, n) : v_set(0);
    TRANSPOSE_STEP(v, 3, V_LANES, 1)
    TRANSPOSE_STEP(v, 2, V_LANES, 1)
    TRANSPOSE_STEP(v, 1, V_LANES, 1)
    TRANSPOSE_STEP(v, 0, V_LANES, 1)
    _Pragma("GCC unroll 16") for (int j = 0; j < V_LANES; j++)
        if (j < n)
            store_part(to + j * ts, v[j], rows);
}

CSM_INLINE void fetch_lines(const elem *to, ptrdiff_t ts)
{
    for (int j = 0; j < V_LANES; j++)
        __builtin_prefetch(to + j * ts, 1);
}

/* Rows of n numbers, fs apart, to n rows ts apart: to[j ts + i] = from[i fs + j]. Where the lines that are written lie
   far apart, which the CPU does not foresee, those of the next block are fetched (docs/notes/staging.md). */
static void transpose(void *to, ptrdiff_t ts, const void *from, ptrdiff_t fs, ptrdiff_t rows, ptrdiff_t n)
{
    const int fetches = n == BLOCK_COUNT && ts >= FAR_LINES / (ptrdiff_t)sizeof(elem);
    for (ptrdiff_t i = 0; i < rows; i += V_LANES)
        for (ptrdiff_t j = 0; j < n; j += V_LANES) {
            elem *const t = (elem *)to + j * ts + i;
            const elem *const f = (const elem *)from + i * fs + j;
            if (fetches)
                fetch_lines(t + BLOCK_COUNT * ts, ts);
            if (rows - i >= V_LANES && n - j >= V_LANES)
                transpose_square(t, ts, f, fs, V_LANES, V_LANES);
            else
                transpose_square(t, ts, f, fs, rows - i < V_LANES ? rows - i : V_LANES,
                                 n - j < V_LANES ? n - j : V_LANES);
        }
}

/* to[n - 1 - i] = from[i]; both are fetched ahead. */
static void reverse(void *to, const void *from, ptrdiff_t n)
{
    enum { AHEAD = MOVE_AHEAD / sizeof(elem) };
    const elem *f = from;
    elem *t = (elem *)to + n;
    for (; n >= V_LANES; n -= V_LANES, f += V_LANES) {
        t -= V_LANES;
        __builtin_prefetch(f + AHEAD);
        __builtin_prefetch(t - AHEAD, 1);
        vec v = v_load(f);
        _Pragma("GCC unroll 4") for (int i = 0; i < V_LOG2_LANES; i++)
            v = v_swap_lanes(v, i);
        v_store(t, v);
    }
    for (; n > 0; n--)
        *--t = *f++;
}

#endif
