/* A batch of rows, and how passes walk through it. Includes nothing; needs kernels.h, a vector header and its
   accumulator, and math/temper.h before it.

   A body computes a batch of up to V_LANES rows in passes over all of them. What a pass finds is a statistic, one
   number per row, and between the passes statistics are vectors, a row a lane: a quotient or a logarithm is computed
   for the whole batch at once. Both layouts share this; they differ in the strands by which a pass walks:

     along   a strand is a row: vectors of neighbouring classes, the last of which may be partial; the strand's share
             of a statistic is one number, in all lanes
     across  one strand is the batch: a vector is a class of all its rows; a lane needs nothing of its neighbours

   `along` and `unit` (T = 1) are constants wherever these functions are inlined. */

/* Up to so many classes rows along are turned into rows across (docs/decisions/0005). */
enum { FEW_CLASSES = 48 };

typedef struct {
    const csm_block *b;
    ptrdiff_t row, rows;            /* first row in the block; rows of the batch                    */
    ptrdiff_t full, count, lanes;   /* of a strand: whole vectors, all; lanes of one that is not    */
    const temper *t;
    int along, unit;
} batch;

CSM_INLINE batch batch_of(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, const temper *t, int along, int unit)
{
    batch k = {b, row, rows, along ? b->n / V_LANES : rows == V_LANES ? b->n : 0,
               along ? (b->n + V_LANES - 1) / V_LANES : b->n, along ? b->n % V_LANES : rows, t, along, unit};
    return k;
}

/* Where the arrays of a block are in one strand, and how far apart its vectors. */
typedef struct {
    const elem *x, *g;
    elem *y, *h;
    ptrdiff_t xs, gs, ys, hs;
    ptrdiff_t next;         /* from x and y to what is fetched meanwhile */
} strand;

/* Across, a class of a batch is a cache line, and there are more streams of them than the CPU follows by itself: those
   of so many batches further are asked for. */
enum { BATCHES_AHEAD = 16 };

CSM_INLINE ptrdiff_t strands(batch k) { return k.along ? k.rows : 1; }

CSM_INLINE strand strand_of(batch k, ptrdiff_t i)
{
    const csm_block *b = k.b;
    const ptrdiff_t row = k.row + i, xs = k.along ? b->xs : 1, gs = k.along ? b->gs : 1;
    const ptrdiff_t ys = k.along ? b->ys : 1, hs = k.along ? b->hs : 1;
    strand a = {(const elem *)b->x + row * xs, b->g ? (const elem *)b->g + row * gs : NULL,
                b->y ? (elem *)b->y + row * ys : NULL, b->h ? (elem *)b->h + row * hs : NULL,
                k.along ? V_LANES : b->xs, k.along ? V_LANES : b->gs,
                k.along ? V_LANES : b->ys, k.along ? V_LANES : b->hs,
                k.along ? k.rows * xs : BATCHES_AHEAD * V_LANES};
    return a;
}

/* Vector i of a strand; of one that is not whole, lanes past the end are `fill`. */
CSM_INLINE vec load_at(batch k, const elem *x, ptrdiff_t i, ptrdiff_t step, int whole, real fill)
{
    return whole ? v_load(x + i * step) : v_load_n(x + i * step, k.lanes, fill);
}

CSM_INLINE void store_at(batch k, elem *y, ptrdiff_t i, ptrdiff_t step, int whole, vec v)
{
    if (whole)
        v_store(y + i * step, v);
    else
        v_store_n(y + i * step, v, k.lanes);
}

/* Vectors [begin, end) of a strand. */
typedef struct { ptrdiff_t begin, end; } span;

CSM_INLINE ptrdiff_t parts_of(batch k) { return (k.count + CSM_PART - 1) / CSM_PART; }

/* The vectors of the calling thread: all, or its parts of a row that a team shares. */
CSM_INLINE span own_span(batch k)
{
    const csm_team *team = k.along ? k.b->team : NULL;
    span v = {0, k.count};
    if (team) {
        v.begin = parts_of(k) * team->me / team->threads * CSM_PART;
        v.end = parts_of(k) * (team->me + 1) / team->threads * CSM_PART;
        v.end = v.end < k.count ? v.end : k.count;
    }
    return v;
}

CSM_INLINE span whole_span(batch k) { return (span){0, k.count}; }

/* Waits for the others of a team. */
CSM_INLINE void meet(batch k)
{
    if (k.along && k.b->team)
        k.b->team->meet();
}

/* Whether the caller writes what there is one of in a row. */
CSM_INLINE int leads(batch k) { return !(k.along && k.b->team) || k.b->team->me == 0; }

/* A statement for the vectors of a span, `count` from the i-th on: whole ones, V_GROUP at a time while there are so
   many, then one by one; then those that are not whole. `count` and `whole` are constants. */
#define EACH_VECTOR(k, v, statement)                                                    \
    do {                                                                                \
        const ptrdiff_t end = (v).end, full = (k).full < end ? (k).full : end;          \
        ptrdiff_t i = (v).begin;                                                        \
        for (; i + V_GROUP <= full; i += V_GROUP) {                                     \
            enum { count = V_GROUP, whole = 1 };                                        \
            statement;                                                                  \
        }                                                                               \
        for (; i < full; i++) {                                                         \
            enum { count = 1, whole = 1 };                                              \
            statement;                                                                  \
        }                                                                               \
        for (; i < end; i++) {                                                          \
            enum { count = 1, whole = 0 };                                              \
            statement;                                                                  \
        }                                                                               \
    } while (0)

/* A strand's share of a statistic: taken from it, and put into it. */
CSM_INLINE vec share(batch k, const real *statistic, ptrdiff_t i)
{
    return k.along ? v_set(statistic[i]) : v_get(statistic);
}

CSM_INLINE void put_share(batch k, real *statistic, ptrdiff_t i, vec v)
{
    if (k.along)
        statistic[i] = v_first(v);
    else
        v_put(statistic, v);
}

CSM_INLINE void put_wide_share(batch k, double *statistic, ptrdiff_t i, wide w)
{
    if (k.along)
        w_put_first(statistic + i, w_hsum(w));
    else
        w_put(statistic, w);
}

/* A row whose first label is negative takes no part in a loss; passes along skip it. */
CSM_INLINE int is_ignored(batch k, ptrdiff_t row)
{
    return k.b->ignores && k.b->label[(k.row + row) * k.b->slots] < 0;
}

/* 1 for a row that takes part, else 0. */
CSM_INLINE vec alive_of(batch k)
{
    real alive[V_LANES] = {0};
    if (!k.b->ignores)
        return v_set(1);
    for (ptrdiff_t i = 0; i < k.rows; i++)
        alive[i] = !is_ignored(k, i);
    return v_get(alive);
}

CSM_INLINE int skips(batch k, ptrdiff_t i) { return k.along && is_ignored(k, i); }

/* One number per row, into r. */
CSM_INLINE void store_result(batch k, vec r)
{
    real lane[V_LANES], *to = (real *)k.b->r + k.row;
    if (!leads(k))
        return;
    if (k.rows == V_LANES) {
        v_put(to, r);
        return;
    }
    v_put(lane, r);
    for (ptrdiff_t i = 0; i < k.rows; i++)
        to[i] = lane[i];
}
