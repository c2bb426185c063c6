/* A tile: rows that are computed together, and the cursors with which passes (pass.h) walk through it.

   A body computes a tile in passes over all its rows. A pass finds statistics, one number per row. Between the passes a
   statistic is a vector with a row in each lane, so that a quotient or a logarithm is computed for V_LANES rows at
   once. Both layouts share this; they differ in the cursors that a pass walks with:

     rows      a cursor per row: vectors of neighbouring classes, the last of which may be partial; sums over the lanes
               are the row's statistic, which is then put into all lanes
     columns   one cursor per tile: a vector is a class of V_LANES rows; no lane needs its neighbours

   Between its passes a tile waits for quotients and logarithms. In columns, where passes may be short, a full tile has
   `width` row vectors side by side, which wait together. */
#ifndef CSM_TILE_H
#define CSM_TILE_H

#include "../block.h"
#include "../math/temperature.h"
#include "../tuning.h"
#include "../vec/vec.h"

/* What is a constant wherever a kernel is inlined. */
typedef struct {
    int by_rows;                    /* the layout: rows, or else columns            */
    int T_is_1;                     /* T = 1                                        */
    int width;                      /* row vectors: TILE_VECTORS or 1               */
    int single;                     /* in rows: the only row of a call, a short one */
} mode;

typedef struct {
    const csm_block *b;
    ptrdiff_t row, rows;            /* first row in the block; rows of the tile                                   */
    ptrdiff_t full, count, lanes;   /* of a cursor: whole vectors, all; lanes of one that is not                  */
    const temp_consts *temp;        /* of each lane; of rows that have their own, behind it those of each         */
    mode mode;
    int prefetch_next;              /* what the next cursor reads and writes                                      */
    int row_fits_l2;                /* in rows: a row stays in the cache from one pass to the next                */
    int arrays_fit_llc;             /* in rows: the arrays are likely to be in a cache                            */
    vec *max;                       /* the largest logits of its rows; after exp_pass, of the next                */
    ptrdiff_t next;                 /* how many rows the next tile has                                            */
} tile;

CSM_INLINE tile tile_of(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, const temp_consts *temp, mode m)
{
    return (tile){
        .b = b, .row = row, .rows = rows, .temp = temp, .mode = m,
        .full = m.by_rows ? b->n / V_LANES : 0,
        .count = m.by_rows ? (b->n + V_LANES - 1) / V_LANES : b->n,
        .lanes = m.by_rows ? b->n % V_LANES : rows,
        .prefetch_next = !m.by_rows || b->policy.prefetch_next,
        .row_fits_l2 = m.by_rows && b->policy.row_fits_l2,
        .arrays_fit_llc = m.by_rows && b->policy.arrays_fit_llc,
    };
}

/* The only row of a call, a short one at T = 1: the same passes, without tile loops, segments and prefetching
   (docs/notes/small-calls.md). */
CSM_INLINE tile single_row(const csm_block *b, const temp_consts *temp, vec *max)
{
    tile t = tile_of(b, 0, 1, temp, (mode){.by_rows = 1, .T_is_1 = 1, .width = 1, .single = 1});
    t.max = max;
    return t;
}

/* The tile of row vector u alone. */
CSM_INLINE tile row_vector_of(tile t, int u)
{
    if (t.mode.width == 1)
        return t;
    t.mode.width = 1;
    return tile_of(t.b, t.row + u * V_LANES, V_LANES, t.temp, t.mode);
}

#define EACH_ROW_VECTOR(u, t) for (int u = 0; u < (t).mode.width; u++)

/* The row vector that the u-th vector of a step belongs to. */
CSM_INLINE int owner(tile t, int u) { return t.mode.by_rows ? 0 : u; }

/* A cursor: the pointers of a pass to its operands, and the step from vector to vector. */
typedef struct {
    const elem *x, *g;
    elem *y, *h;
    ptrdiff_t xs, gs, ys, hs;
    ptrdiff_t next;         /* to what is fetched meanwhile */
} cursor;

CSM_INLINE ptrdiff_t cursor_count(tile t) { return t.mode.by_rows ? t.rows : 1; }

CSM_INLINE cursor cursor_of(tile t, ptrdiff_t i)
{
    const csm_block *b = t.b;
    const ptrdiff_t row = t.row + i, xs = t.mode.by_rows ? b->xs : 1, gs = t.mode.by_rows ? b->gs : 1;
    const ptrdiff_t ys = t.mode.by_rows ? b->ys : 1, hs = t.mode.by_rows ? b->hs : 1;
    cursor a = {(const elem *)b->x + row * xs, b->g ? (const elem *)b->g + row * gs : NULL,
                b->y ? (elem *)b->y + row * ys : NULL, b->h ? (elem *)b->h + row * hs : NULL,
                t.mode.by_rows ? V_LANES : b->xs, t.mode.by_rows ? V_LANES : b->gs,
                t.mode.by_rows ? V_LANES : b->ys, t.mode.by_rows ? V_LANES : b->hs,
                t.mode.by_rows ? t.rows * xs : TILES_AHEAD * V_LANES};
    return a;
}

/* The u-th vector from vector i of a cursor on; where it is not whole, lanes past the end are `fill`. */
CSM_INLINE vec load_at(tile t, const elem *x, ptrdiff_t i, int u, ptrdiff_t step, int whole, real fill)
{
    x += i * step + u * V_LANES;
    return whole ? v_load(x) : v_load_n(x, t.lanes, fill);
}

CSM_INLINE void store_at(tile t, elem *y, ptrdiff_t i, int u, ptrdiff_t step, int whole, vec v)
{
    y += i * step + u * V_LANES;
    if (whole)
        v_store(y, v);
    else
        v_store_n(y, v, t.lanes);
}

/* Vectors of so many lanes; all of them, where that is a constant. */
CSM_INLINE vec load_part(const elem *x, ptrdiff_t lanes)
{
    return lanes == V_LANES ? v_load(x) : v_load_n(x, lanes, 0);
}

CSM_INLINE void store_part(elem *y, vec v, ptrdiff_t lanes)
{
    if (lanes == V_LANES)
        v_store(y, v);
    else
        v_store_n(y, v, lanes);
}

/* Elements from y to where `unit` of them, a vector or a cache line, are aligned. */
CSM_INLINE ptrdiff_t misaligned(const elem *y, ptrdiff_t unit)
{
    return (unit - (ptrdiff_t)((uintptr_t)y / sizeof *y % (size_t)unit)) % unit;
}

/* The threads that share the only row of a block; NULL: the caller is alone. */
CSM_INLINE const csm_team *team_of(tile t) { return t.mode.by_rows && !t.mode.single ? t.b->team : NULL; }

CSM_INLINE int is_past(tile t, csm_phase phase) { return team_of(t) && team_of(t)->phase > phase; }

/* Whether the caller writes what there is one of in a row. */
CSM_INLINE int leads(tile t) { return !team_of(t) || (team_of(t)->me == 0 && team_of(t)->phase == CSM_PATCH); }

#endif
