/* Rows of few classes: tiles are transposed in registers, computed by the kernel of the columns layout, and transposed
   back. In the rows layout they would leave most lanes idle and pay for sums over lanes.

   A square of V_LANES rows by V_LANES classes is transposed in steps: step i exchanges bit i of the number of a vector
   with bit i of the number of a lane. For four lanes a0 a1 a2 a3, b0 .. and so on: step 1 makes a0 a1 c0 c1, b0 b1 d0
   d1, a2 a3 c2 c3, b2 b3 d2 d3; step 0 makes a0 b0 c0 d0, a1 b1 c1 d1 and so on. */
#ifndef CSM_TRANSPOSE_H
#define CSM_TRANSPOSE_H

#include "../block.h"
#include "../tuning.h"
#include "../vec/vec.h"
#include "tile.h"

/* Step i in the blocks of 2^(i+1) vectors that begin below n; without the second halves that begin at n or above
   where `all` is 0. */
#define TRANSPOSE_STEP(v, i, n, all)                                                        \
    if ((i) < V_LOG2_LANES)                                                                 \
        _Pragma("GCC unroll 8") for (int k = 0; k < V_LANES / 2; k++) {                     \
            const int block = k >> (i) << ((i) + 1), low = block + (k & ((1 << (i)) - 1));  \
            const int half = 1 << (i), high = low + half;                                   \
            if (block < (n)) {                                                              \
                const vec a = v[low % V_LANES], b = v[high % V_LANES];                      \
                v[low % V_LANES] = v_zip_lo(a, b, (i));                                     \
                if ((all) || block + half < (n))                                            \
                    v[high % V_LANES] = v_zip_hi(a, b, (i));                                \
            }                                                                               \
        }

#ifdef V_CHOICE

/* Two to four classes without gaps between the rows: n vectors hold V_LANES rows, and each transposed vector is chosen
   from them in n - 1 steps. Step 0 chooses lane i from the first two vectors, step k from the result so far and vector
   k + 1. On the way in, vector `to` gets class `to` of row i, which is element n i + to; on the way out, lane i of
   vector `to` gets element V_LANES to + i, a class of a row. */
#define CHOICE(k, i, from, lane)    \
    ((from) == (k) + 1 ? V_LANES + (lane) : (k) == 0 ? ((from) == 0 ? (lane) : 0) : (i))
#define CHOICE_IN(n, to, k, i) CHOICE(k, i, ((n) * (i) + (to)) / V_LANES, ((n) * (i) + (to)) % V_LANES)
#define CHOICE_OUT(n, to, k, i) CHOICE(k, i, (V_LANES * (to) + (i)) % (n), (V_LANES * (to) + (i)) / (n))

/* n vectors v to n vectors `to`. */
CSM_INLINE void choose_all(vec *to, const vec *v, int n, choice c[4][3])
{
    EACH(j, n) {
        to[j] = v_choose(v[0], v[1], c[j][0]);
        EACH(k, n - 2) to[j] = v_choose(to[j], v[k + 2], c[j][k + 1]);
    }
}

#define CHOICES(c, n, CHOICE_OF)                                \
    choice c[4][3];                                             \
    EACH(to, n) EACH(k, (n) - 1) {                              \
        unsigned char lane[16];                                 \
        _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)   \
            lane[i] = (unsigned char)(CHOICE_OF(n, to, k, i));  \
        c[to][k] = v_choice(lane);                              \
    }

CSM_INLINE void packed_in(elem *buffer, const elem *x, ptrdiff_t rows, int n)
{
    CHOICES(c, n, CHOICE_IN)
    for (ptrdiff_t r = 0; r < rows; r += V_LANES) {
        vec v[4], to[4];
        EACH(j, n) v[j] = v_load(x + r * n + j * V_LANES);
        choose_all(to, v, n, c);
        EACH(j, n) v_store(buffer + j * TILE_ROWS + r, to[j]);
    }
}

CSM_INLINE void packed_out(elem *y, const elem *buffer, ptrdiff_t rows, int n)
{
    CHOICES(c, n, CHOICE_OUT)
    for (ptrdiff_t r = 0; r < rows; r += V_LANES) {
        vec v[4], to[4];
        EACH(j, n) v[j] = v_load(buffer + j * TILE_ROWS + r);
        choose_all(to, v, n, c);
        EACH(j, n) v_store(y + r * n + j * V_LANES, to[j]);
    }
}

/* Transposes whole vectors of rows where their classes are that few and without gaps; returns how many rows. */
#define PACKED(name, turn)                                                                              \
    static ptrdiff_t name(elem *to, const elem *from, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n)    \
    {                                                                                                   \
        rows = n <= MOST_PACKED && stride == n ? rows / V_LANES * V_LANES : 0;                          \
        switch (n) {                                                                                    \
        case 2: turn(to, from, rows, 2); return rows;                                                   \
        case 3: turn(to, from, rows, 3); return rows;                                                   \
        case 4: turn(to, from, rows, 4); return rows;                                                   \
        default: return 0;                                                                              \
        }                                                                                               \
    }

PACKED(transpose_in_packed, packed_in)
PACKED(transpose_out_packed, packed_out)

#else
#define transpose_in_packed(buffer, x, xs, rows, n) 0
#define transpose_out_packed(y, buffer, ys, rows, n) 0
#endif

/* `rows` rows of n classes, to a tile that has a line of TILE_ROWS rows for each class. */
static void transpose_in(elem *buffer, const elem *x, ptrdiff_t xs, ptrdiff_t rows, ptrdiff_t n)
{
    for (ptrdiff_t r = transpose_in_packed(buffer, x, xs, rows, n); r < rows; r += V_LANES)
        for (ptrdiff_t c = 0; c < n; c += V_LANES) {
            const ptrdiff_t here = rows - r < V_LANES ? rows - r : V_LANES, left = n - c < V_LANES ? n - c : V_LANES;
            vec v[V_LANES];
            _Pragma("GCC unroll 16") for (int i = 0; i < V_LANES; i++)
                v[i] = i < here ? v_load_n(x + (r + i) * xs + c, left, 0) : v_set(0);
            TRANSPOSE_STEP(v, 3, left, 0)
            TRANSPOSE_STEP(v, 2, left, 0)
            TRANSPOSE_STEP(v, 1, left, 0)
            TRANSPOSE_STEP(v, 0, left, 0)
            _Pragma("GCC unroll 16") for (int j = 0; j < V_LANES; j++)
                if (j < left)
                    v_store(buffer + (c + j) * TILE_ROWS + r, v[j]);
        }
}

/* The same back. */
static void transpose_out(elem *y, ptrdiff_t ys, const elem *buffer, ptrdiff_t rows, ptrdiff_t n)
{
    for (ptrdiff_t r = transpose_out_packed(y, buffer, ys, rows, n); r < rows; r += V_LANES)
        for (ptrdiff_t c = 0; c < n; c += V_LANES) {
            const ptrdiff_t here = rows - r < V_LANES ? rows - r : V_LANES, left = n - c < V_LANES ? n - c : V_LANES;
            vec v[V_LANES];
            _Pragma("GCC unroll 16") for (int j = 0; j < V_LANES; j++)
                v[j] = j < left ? v_load(buffer + (c + j) * TILE_ROWS + r) : v_set(0);
            TRANSPOSE_STEP(v, 0, left, 1)
            TRANSPOSE_STEP(v, 1, left, 1)
            TRANSPOSE_STEP(v, 2, left, 1)
            TRANSPOSE_STEP(v, 3, left, 1)
            _Pragma("GCC unroll 16") for (int i = 0; i < V_LANES; i++)
                if (i < here)
                    v_store_n(y + (r + i) * ys + c, v[i], left);
        }
}

/* Room for two tiles of few classes, or for one of more (csm_choose_kernel): a thread may have a small stack. */
enum { BUFFER_SIZE = 2 * FEW_CLASSES * TILE_ROWS };

_Static_assert(MORE_CLASSES <= 2 * FEW_CLASSES, "a tile of more classes has room");

/* Prefetches the lines of a tile whose rows lie close together. Rows of few classes are read and written by parts of
   vectors, which the CPU does not foresee: in a cold cache softmax of (10000, 10) float32 takes 0.47 instead of 1.23 ns
   per element (docs/notes/memory.md). */
CSM_INLINE void prefetch_tile(const void *a, ptrdiff_t stride, ptrdiff_t n, int writes)
{
    const elem *p = (const elem *)a + TILE_ROWS * stride;
    if (a && stride < 2 * n)
        for (ptrdiff_t i = 0; i < TILE_ROWS * stride; i += CSM_LINE / (ptrdiff_t)sizeof(elem))
            writes ? __builtin_prefetch(p + i, 1) : __builtin_prefetch(p + i);
}

/* The next tile. */
CSM_INLINE void prefetch_next_tile(const csm_block *b, ptrdiff_t row)
{
    if (row + TILE_ROWS >= b->rows || !b->policy.prefetch_next)
        return;
    prefetch_tile((const elem *)b->x + row * b->xs, b->xs, b->n, 0);
    prefetch_tile(b->g ? (const elem *)b->g + row * b->gs : NULL, b->gs, b->n, 0);
    prefetch_tile(b->y ? (elem *)b->y + row * b->ys : NULL, b->ys, b->n, 1);
    prefetch_tile(b->h ? (elem *)b->h + row * b->hs : NULL, b->hs, b->n, 1);
}

/* A block of rows of few classes, by the kernel of the columns layout. x and y share a buffer, and so do g and h: each
   element is read before it is written. */
static void run_transposed(const csm_block *b, csm_kernel *cols)
{
    _Alignas(CSM_LINE) elem x[BUFFER_SIZE];
    elem *const g = x + b->n * TILE_ROWS;
    csm_block buffer = *b;
    buffer.xs = buffer.gs = buffer.ys = buffer.hs = TILE_ROWS;
    buffer.x = x;
    buffer.g = b->g ? g : NULL;
    buffer.y = b->y ? x : NULL;
    buffer.h = b->h ? g : NULL;
    buffer.policy.stream_output = 0;
    for (ptrdiff_t row = 0; row < b->rows; row += TILE_ROWS) {
        buffer.rows = b->rows - row < TILE_ROWS ? b->rows - row : TILE_ROWS;
        prefetch_next_tile(b, row);
        transpose_in(x, (const elem *)b->x + row * b->xs, b->xs, buffer.rows, b->n);
        if (b->g)
            transpose_in(g, (const elem *)b->g + row * b->gs, b->gs, buffer.rows, b->n);
        cols(&buffer);
        if (b->y)
            transpose_out((elem *)b->y + row * b->ys, b->ys, x, buffer.rows, b->n);
        if (b->h)
            transpose_out((elem *)b->h + row * b->hs, b->hs, g, buffer.rows, b->n);
        csm_skip_per_row(&buffer, TILE_ROWS, sizeof(elem));
    }
}

#endif
