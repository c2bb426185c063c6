/* A batch of rows, and how passes walk through it. Includes nothing; needs kernels.h, a vector header and its
   accumulator, and math/temper.h before it.

   A body computes a batch in passes over all its rows. What a pass finds is a statistic, one number per row, and
   between the passes statistics are vectors, a row a lane: a quotient or a logarithm is computed for V_LANES rows at
   once. Both layouts share this; they differ in the strands by which a pass walks:

     along   a strand is a row: vectors of neighbouring classes, the last of which may be partial; the strand's share
             of a statistic is one number, in all lanes
     across  one strand is the batch: a vector is a class of V_LANES of its rows; a lane needs nothing of its neighbours

   Between its passes a batch waits for quotients and logarithms. Across, where passes may be short, it is therefore
   `width` times V_LANES rows as long as there are so many: their vectors stand side by side and wait together.

   `along`, `unit` (T = 1) and `width` are constants wherever these functions are inlined. */

/* Up to so many classes rows along are turned into rows across, and up to MORE_CLASSES if there are many rows, of which
   the last, fewer than a wide batch, take longer (docs/notes/tiles.md). */
enum { FEW_CLASSES = 48, MORE_CLASSES = V_LANES == 16 ? 88 : V_LANES == 8 ? 60 : 48 };

/* Of vectors that stand side by side; without vectors there is no more than one. */
enum { WIDTH = V_LANES > 1 ? 4 : 1 };

/* Bytes of an array, or of a row, of which the second-level cache holds three: larger arrays are fetched ahead; of
   longer rows it would lose what is to be written. And bytes of a row of which the first-level cache holds two and
   those that are next (docs/notes/memory.md). */
enum { CACHED_ARRAY = 256 * 1024, SHORT_ROW = 16 * 1024 };

/* Bytes of all arrays of which the last-level cache is likely to hold most: beyond, requests to memory are lost where
   they come too fast (docs/notes/memory.md). */
enum { LAST_CACHE = 20 << 20 };

typedef struct {
    const csm_block *b;
    ptrdiff_t row, rows;            /* first row in the block; rows of the batch                    */
    ptrdiff_t full, count, lanes;   /* of a strand: whole vectors along, all; lanes of one that is not */
    const temper *t;                /* of each lane; of rows that have their own, behind it those of each */
    int along, unit;
    int width;                      /* of a statistic: vectors, WIDTH or 1                          */
    int lone;                       /* along: the only row of a call, a short one                   */
    int asks;                       /* for what the next strand reads and writes                    */
    int stays;                      /* along: a row stays in the cache from one pass to the next    */
    int cached;                     /* along: the arrays are likely to be in a cache                */
    vec *max;                       /* the largest logits of its rows; after exp_pass, of the next  */
    ptrdiff_t next;                 /* how many rows the batch after it has                         */
} batch;

CSM_INLINE batch batch_of(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, const temper *t,
                          int along, int unit, int width)
{
    const ptrdiff_t bytes = b->n * (ptrdiff_t)sizeof(elem);
    const int arrays = 1 + (b->y && b->y != b->x) + (b->g != NULL) + (b->h != NULL);
    const int alike = b->ys == b->xs && (!b->g || b->gs == b->xs);
    batch k = {b, row, rows, along ? b->n / V_LANES : 0,
               along ? (b->n + V_LANES - 1) / V_LANES : b->n, along ? b->n % V_LANES : rows, t, along, unit, width, 0,
               !along || (alike && bytes <= SHORT_ROW && bytes * b->walked > CACHED_ARRAY),
               along && bytes <= CACHED_ARRAY,
               along && arrays * bytes * b->walked <= LAST_CACHE, NULL, 0};
    return k;
}

/* The only row of a call, if it is short, unless it has a temperature. Its code is that of all rows without what there
   is for more of them, for long ones and for teams: half the instructions (docs/notes/small-calls.md). */
enum { LONE_VECTORS = 16 };

CSM_INLINE int is_lone(const csm_block *b)
{
    return V_LANES > 1 && b->all_rows == 1 && b->n <= LONE_VECTORS * V_LANES && csm_is_unit(b) && !b->team;
}

CSM_INLINE batch lone_row(const csm_block *b, const temper *t, vec *max)
{
    batch k = batch_of(b, 0, 1, t, 1, 1, 1);
    k.lone = k.cached = 1;
    k.asks = k.stays = 0;
    k.max = max;
    return k;
}

/* The rows of vector u of a statistic. */
CSM_INLINE batch part_of(batch k, int u)
{
    return k.width > 1 ? batch_of(k.b, k.row + u * V_LANES, V_LANES, k.t, k.along, k.unit, 1) : k;
}

#define EACH_PART(u, k) for (int u = 0; u < (k).width; u++)

/* Which vector of a statistic belongs to vector u of a step. */
CSM_INLINE int owner(batch k, int u) { return k.along ? 0 : u; }

/* Where the arrays of a block are in one strand, and how far apart its vectors. */
typedef struct {
    const elem *x, *g;
    elem *y, *h;
    ptrdiff_t xs, gs, ys, hs;
    ptrdiff_t next;         /* to what is fetched meanwhile */
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

/* The u-th vector from vector i of a strand on; of one that is not whole, lanes past the end are `fill`. */
CSM_INLINE vec load_at(batch k, const elem *x, ptrdiff_t i, int u, ptrdiff_t step, int whole, real fill)
{
    x += i * step + u * V_LANES;
    return whole ? v_load(x) : v_load_n(x, k.lanes, fill);
}

CSM_INLINE void store_at(batch k, elem *y, ptrdiff_t i, int u, ptrdiff_t step, int whole, vec v)
{
    y += i * step + u * V_LANES;
    if (whole)
        v_store(y, v);
    else
        v_store_n(y, v, k.lanes);
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

/* Those that share the only row of a block; NULL: the caller is alone. */
CSM_INLINE const csm_team *team_of(batch k) { return k.along && !k.lone ? k.b->team : NULL; }

/* Vectors [begin, end) of a strand. */
typedef struct { ptrdiff_t begin, end; } span;

CSM_INLINE ptrdiff_t parts_of(batch k) { return (k.count + CSM_PART - 1) / CSM_PART; }

/* The vectors of the calling thread: all, or its parts of a row that a team shares. */
CSM_INLINE span own_span(batch k)
{
    const csm_team *team = team_of(k);
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
    const csm_team *team = team_of(k);
    if (team)
        team->meet(team->place);
}

/* Whether the caller writes what there is one of in a row. */
CSM_INLINE int leads(batch k) { return !team_of(k) || team_of(k)->me == 0; }

/* A statement for the vectors of a span, `count` from the i-th on: along, whole ones, V_GROUP at a time while there are
   so many, then one by one, and the last one if it is not whole; across, those of a class, whole in a wide batch.
   `count` and `whole` are constants. */
#define EACH_VECTOR(k, v, statement)                                                    \
    do {                                                                                \
        const ptrdiff_t end = (v).end, full = (k).full < end ? (k).full : end;          \
        ptrdiff_t i = (v).begin;                                                        \
        if ((k).width > 1) {                                                            \
            for (; i < end; i++) {                                                      \
                enum { count = WIDTH, whole = 1 };                                      \
                statement;                                                              \
            }                                                                           \
            break;                                                                      \
        }                                                                               \
        for (; (k).along && !(k).lone && i + V_GROUP <= full; i += V_GROUP) {           \
            enum { count = V_GROUP, whole = 1 };                                        \
            statement;                                                                  \
        }                                                                               \
        for (; (k).along && i < full; i++) {                                            \
            enum { count = 1, whole = 1 };                                              \
            statement;                                                                  \
        }                                                                               \
        for (; i < end; i++) {                                                          \
            enum { count = 1, whole = 0 };                                              \
            statement;                                                                  \
        }                                                                               \
    } while (0)

/* The batch as its strand r needs it: along, with the temperature of that row in all lanes. */
CSM_INLINE batch at_strand(batch k, ptrdiff_t r)
{
    if (k.along && !k.unit)
        k.t += k.b->temperatures ? 1 + r : 0;
    return k;
}

/* A statement for each strand, strand r at p. `mine` is what it has of `all`: one or WIDTH structures `type` of vectors
   that hold a number per row. Along that is the number of its row, in all lanes. */
#define EACH_STRAND(k, type, all, statement)                                            \
    do {                                                                                \
        enum { fields = sizeof(type) / sizeof(vec) };                                   \
        const int spread = (k).along && !(k).lone;                                      \
        real lane[fields][V_LANES];                                                     \
        for (int f = 0; spread && f < fields; f++)                                      \
            v_put(lane[f], ((const vec *)(all))[f]);                                    \
        for (ptrdiff_t r = 0; r < strands(k); r++) {                                    \
            const strand p = strand_of(k, r);                                           \
            vec of_row[fields];                                                         \
            for (int f = 0; spread && f < fields; f++)                                  \
                of_row[f] = v_set(lane[f][r]);                                          \
            const type *mine = spread ? (const type *)of_row : (all);                   \
            statement;                                                                  \
        }                                                                               \
    } while (0)

/* A number for each row; of one row in all lanes: a vector waits until a single number in it has reached the cache. */
CSM_INLINE vec get_rows(batch k, const real *lane) { return k.rows == 1 ? v_set(lane[0]) : v_get(lane); }

/* An ignored row takes no part in a loss; passes along skip it. */
CSM_INLINE int is_ignored(batch k, ptrdiff_t row)
{
    return k.b->ignores && k.b->ignored[(k.row + row) * k.b->slots] < 0;
}

/* Numbers of the rows of which there are `slots` each, those in one slot, rounded. */
CSM_INLINE vec ints_in(batch k, const ptrdiff_t *a, ptrdiff_t slot)
{
    const ptrdiff_t slots = k.b->slots;
    real number[V_LANES] = {0};
    if (k.rows == V_LANES && slots == 1)
        return v_of_ints(a + k.row);
    for (ptrdiff_t i = 0; i < k.rows; i++)
        number[i] = (real)a[(k.row + i) * slots + slot];
    return get_rows(k, number);
}

/* The labels in a slot: only those of few classes are compared, of others the sign counts. */
CSM_INLINE vec labels_in(batch k, ptrdiff_t slot) { return ints_in(k, k.b->label, slot); }

/* 1 for a row that takes part, else 0. */
CSM_INLINE vec alive_of(batch k)
{
    return k.b->ignores ? v_keep(v_le(v_set(0), ints_in(k, k.b->ignored, 0)), v_set(1)) : v_set(1);
}

CSM_INLINE int skips(batch k, ptrdiff_t i) { return k.along && is_ignored(k, i); }

/* One number per row, into r, as doubles. */
CSM_INLINE void store_sum(batch k, wide r)
{
    double lane[V_LANES], *to = (double *)k.b->r + k.row;
    if (!leads(k))
        return;
    if (k.rows == V_LANES) {
        w_store(to, r);
        return;
    }
    w_store(lane, r);
    for (ptrdiff_t i = 0; i < k.rows; i++)
        to[i] = lane[i];
}

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
