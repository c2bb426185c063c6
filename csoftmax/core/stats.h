/* What is learnt of rows on the way through them: max, shift, sums. Includes nothing; needs kernels.h, a vector
   header, its accumulator, math/exp.h and math/log1p.h before it.

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

/* Where the arrays of a block are in one strand, and how far apart its vectors. */
typedef struct {
    const elem *x, *g;
    elem *y, *h;
    ptrdiff_t xs, gs, ys, hs;
    ptrdiff_t next;         /* from x to the next batch */
} strand;

CSM_INLINE ptrdiff_t strands(const batch *k) { return k->along ? k->rows : 1; }

CSM_INLINE strand strand_of(const batch *k, ptrdiff_t i)
{
    const csm_block *b = k->b;
    const ptrdiff_t row = k->row + i, xs = k->along ? b->xs : 1, gs = k->along ? b->gs : 1;
    const ptrdiff_t ys = k->along ? b->ys : 1, hs = k->along ? b->hs : 1;
    strand a = {(const elem *)b->x + row * xs, b->g ? (const elem *)b->g + row * gs : NULL,
                b->y ? (elem *)b->y + row * ys : NULL, b->h ? (elem *)b->h + row * hs : NULL,
                k->along ? V_LANES : b->xs, k->along ? V_LANES : b->gs,
                k->along ? V_LANES : b->ys, k->along ? V_LANES : b->hs, k->rows * xs};
    return a;
}

/* Vector i of a strand; of one that is not whole, lanes past the end are `fill`. */
CSM_INLINE vec load_at(const batch *k, const elem *x, ptrdiff_t i, ptrdiff_t step, int whole, real fill)
{
    return whole ? v_load(x + i * step) : v_load_n(x + i * step, k->lanes, fill);
}

CSM_INLINE void store_at(const batch *k, elem *y, ptrdiff_t i, ptrdiff_t step, int whole, vec v)
{
    if (whole)
        v_store(y + i * step, v);
    else
        v_store_n(y + i * step, v, k->lanes);
}

/* Vectors [begin, end) of a strand. */
typedef struct { ptrdiff_t begin, end; } span;

CSM_INLINE ptrdiff_t parts_of(const batch *k) { return (k->count + CSM_PART - 1) / CSM_PART; }

/* The vectors of the calling thread: all, or its parts of a row that a team shares. */
CSM_INLINE span own_span(const batch *k)
{
    const csm_team *team = k->along ? k->b->team : NULL;
    span v = {0, k->count};
    if (team) {
        v.begin = parts_of(k) * team->me / team->threads * CSM_PART;
        v.end = parts_of(k) * (team->me + 1) / team->threads * CSM_PART;
        v.end = v.end < k->count ? v.end : k->count;
    }
    return v;
}

CSM_INLINE span whole_span(const batch *k) { return (span){0, k->count}; }

/* Waits for the others of a team. */
CSM_INLINE void meet(const batch *k)
{
    if (k->along && k->b->team)
        k->b->team->meet();
}

/* Whether the caller writes what there is one of in a row. */
CSM_INLINE int leads(const batch *k) { return !(k->along && k->b->team) || k->b->team->me == 0; }

/* A statement for the vectors of a span, `count` from the i-th on: whole ones, V_GROUP at a time while there are so many
   if `grouped`, then one by one; then those that are not whole. `count` and `whole` are constants. */
#define EACH_VECTOR(k, v, grouped, statement)                                           \
    do {                                                                                \
        const ptrdiff_t end = (v).end, full = (k)->full < end ? (k)->full : end;        \
        ptrdiff_t i = (v).begin;                                                        \
        for (; (grouped) && i + V_GROUP <= full; i += V_GROUP) {                        \
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
CSM_INLINE vec share(const batch *k, const real *statistic, ptrdiff_t i)
{
    return k->along ? v_set(statistic[i]) : v_get(statistic);
}

CSM_INLINE void put_share(const batch *k, real *statistic, ptrdiff_t i, vec v)
{
    if (k->along)
        statistic[i] = v_first(v);
    else
        v_put(statistic, v);
}

CSM_INLINE void put_wide_share(const batch *k, double *statistic, ptrdiff_t i, wide w)
{
    if (k->along)
        w_put_first(statistic + i, w_hsum(w));
    else
        w_put(statistic, w);
}

/* A row whose first label is negative takes no part in a loss; passes along skip it. */
CSM_INLINE int is_ignored(const batch *k, ptrdiff_t row)
{
    return k->b->ignores && k->b->label[(k->row + row) * k->b->slots] < 0;
}

CSM_INLINE int skips(const batch *k, ptrdiff_t i) { return k->along && is_ignored(k, i); }

/* One number per row, into r. */
CSM_INLINE void store_result(const batch *k, vec r)
{
    real lane[V_LANES];
    v_put(lane, r);
    if (leads(k))
        memcpy((real *)k->b->r + k->row, lane, (size_t)k->rows * sizeof *lane);
}

/* The largest lane, in all lanes; lanes are not NaN. */
CSM_INLINE vec v_hmax(vec a)
{
    for (int i = 0; i < V_FOLDS; i++)
        a = v_max(a, v_fold(a, i));
    return a;
}

CSM_INLINE void max_step(const batch *k, const strand *p, ptrdiff_t i, int count, int whole, vec m[4])
{
    EACH(u, count) m[u] = v_max(load_at(k, p->x, i + u, p->xs, whole, -INFINITY), m[u]);
}

/* The largest of what the threads of a team found, in all lanes. */
CSM_INLINE vec team_max(const batch *k, vec m)
{
    const csm_team *team = k->b->team;
    if (!team)
        return m;
    team->exchange[team->me * CSM_EXCHANGE] = v_first(m);
    team->meet();
    for (int i = 0; i < team->threads; i++)
        m = v_max(v_set((real)team->exchange[i * CSM_EXCHANGE]), m);
    return m;
}

/* The largest logits, NaN passed over; -inf of an empty row. */
CSM_INLINE vec max_pass(const batch *k)
{
    real max[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        if (skips(k, r))
            continue;
        const strand p = strand_of(k, r);
        const vec none = v_set(-INFINITY);
        vec m[4] = {none, none, none, none};
        EACH_VECTOR(k, own_span(k), 1, max_step(k, &p, i, count, whole, m));
        vec all = v_max(v_max(m[0], m[1]), v_max(m[2], m[3]));
        put_share(k, max, r, k->along ? team_max(k, v_hmax(all)) : all);
    }
    return v_get(max);
}

CSM_INLINE void nan_step(const batch *k, const strand *p, ptrdiff_t i, int count, int whole, vec *found)
{
    EACH(u, count) {
        vec v = load_at(k, p->x, i + u, p->xs, whole, 0);
        *found = v_pick(v_eq(v, v), *found, v_set(1));
    }
}

/* Whether a row holds a NaN: 1, else 0. For rows whose max is infinite; not on a fast path. */
CSM_INLINE vec nan_pass(const batch *k)
{
    real found[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        const strand p = strand_of(k, r);
        vec any = v_set(0);
        EACH_VECTOR(k, whole_span(k), 1, nan_step(k, &p, i, count, whole, &any));
        put_share(k, found, r, k->along ? v_hmax(any) : any);
    }
    return v_get(found);
}

/* Sums over each row. */
typedef struct {
    wide other;         /* exponentials of the logits below the max; of all of them without SPLIT   */
    vec count;          /* SPLIT: how many logits are the max                                       */
    wide drops;         /* DENSE: sum of c (m - x)/T;  ENTROPY: sum of e (m - x)/T                  */
    wide mass;          /* DENSE: sum of c, which is g, or WEIGHED                                  */
} sums;

/* What a pass does besides; constants at each use. KEEP_EXP: where there is a y. The max is split off where what remains counts:
   where one logit holds nearly all of S, S - e is lost by subtraction, but the sum of the others is right to the
   last bits. */
enum { KEEP_EXP = 1, SPLIT = 2, DENSE = 4, ENTROPY = 8, WEIGHED = 16, IGNORES = 32 };

/* c of vector i: what the loss counts of (m - x)/T + L. That is g, or WEIGHED, w (keep g + smooth); see losses.h. */
CSM_INLINE vec coefficient(const batch *k, const strand *p, ptrdiff_t i, int whole, int what)
{
    const csm_block *b = k->b;
    if (!(what & WEIGHED))
        return load_at(k, p->g, i, p->gs, whole, 0);
    vec c = v_set((real)b->smooth);
    if (p->g)
        c = v_fma(v_set((real)b->keep), load_at(k, p->g, i, p->gs, whole, 0), c);
    if (b->weight)
        c = v_mul(c, k->along ? load_at(k, b->weight, i, V_LANES, whole, 0) : v_set(((const real *)b->weight)[i]));
    return k->along && !whole ? v_keep(m_first(k->lanes), c) : c;
}

/* `count` vectors of a strand from the i-th on. They are added in `wide`: each rounding in `real` would cost a softmax
   an ULP where one logit holds most of the sum (docs/decisions/0002). A coefficient of 0 takes no part whatever its
   logit: 0 * inf = 0. Meanwhile the logits of the next batch are fetched: this pass computes, the others move. */
CSM_INLINE void exp_step(const batch *k, const strand *p, ptrdiff_t i, int count, int whole,
                         const shift *s, vec m, int what, sums *sum)
{
    vec x[4], e[4];
    if (whole)
        EACH(u, count) __builtin_prefetch(p->x + (i + u) * p->xs + p->next);
    EACH(u, count) e[u] = x[u] = load_at(k, p->x, i + u, p->xs, whole, -INFINITY);
    exp_many(e, count, s, k->t, k->unit);
    if (what & KEEP_EXP && p->y)
        EACH(u, count) store_at(k, p->y, i + u, p->ys, whole, e[u]);
    EACH(u, count) {
        if (what & (DENSE | ENTROPY)) {
            vec c = what & DENSE ? coefficient(k, p, i + u, whole, what) : e[u], d = drop(m, x[u], k->t, k->unit);
            sum->drops = w_add(sum->drops, v_keep(v_ne(c, v_set(0)), v_mul(c, d)));
            if (what & DENSE)
                sum->mass = w_add(sum->mass, c);
        }
        if (what & SPLIT) {
            mask differs = v_ne(x[u], m);
            e[u] = v_keep(differs, e[u]);
            sum->count = v_add_unless(differs, sum->count, v_set(1));
        }
    }
    /* Pairs along only: whether a row across is in a whole vector depends on the rows beside it, its bits must not. */
    if (k->along && count == 4) {
        sum->other = w_add_pair(sum->other, e[0], e[1]);
        sum->other = w_add_pair(sum->other, e[2], e[3]);
    } else {
        EACH(u, count) sum->other = w_add(sum->other, e[u]);
    }
}

CSM_INLINE sums sums_of_nothing(void) { return (sums){w_zero(), v_set(0), w_zero(), w_zero()}; }

CSM_INLINE sums sums_together(const sums *a, const sums *b)
{
    sums s = {w_sum(a->other, b->other), v_add(a->count, b->count), w_sum(a->drops, b->drops), w_sum(a->mass, b->mass)};
    return s;
}

/* The sums of the parts of a row that a team shares: each thread gives those of its own, and adds all in order. */
CSM_INLINE double *place_of_part(const csm_team *team, ptrdiff_t part)
{
    return team->exchange + (team->threads + part) * CSM_EXCHANGE;
}

CSM_INLINE void give_part(const batch *k, ptrdiff_t part, const sums *s)
{
    double *to = place_of_part(k->b->team, part);
    real count[V_LANES];
    w_put(to, s->other);
    w_put(to + W_SIZE, s->drops);
    w_put(to + 2 * W_SIZE, s->mass);
    v_put(count, s->count);
    for (int i = 0; i < V_LANES; i++)
        to[3 * W_SIZE + i] = count[i];
}

CSM_INLINE sums team_sums(const batch *k)
{
    sums all = sums_of_nothing();
    k->b->team->meet();
    for (ptrdiff_t part = 0; part < parts_of(k); part++) {
        const double *from = place_of_part(k->b->team, part);
        real count[V_LANES];
        for (int i = 0; i < V_LANES; i++)
            count[i] = (real)from[3 * W_SIZE + i];
        const sums s = {w_get(from), v_get(count), w_get(from + W_SIZE), w_get(from + 2 * W_SIZE)};
        all = part ? sums_together(&all, &s) : s;
    }
    return all;
}

/* Exponentials of rows with largest logits m, and their sums. In groups for T = 1 alone: the code for other T would be
   as large again and a half, and a fourth faster. */
CSM_INLINE sums exp_pass(const batch *k, vec m, const shift *shifted, int what)
{
    real c[V_LANES], n0[V_LANES], floor[V_LANES], top[V_LANES], count[V_LANES] = {0};
    double other[W_SIZE] = {0}, drops[W_SIZE] = {0}, mass[W_SIZE] = {0};
    v_put(c, shifted->c);
    v_put(n0, shifted->n0);
    v_put(floor, shifted->floor);
    v_put(top, m);
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        if (skips(k, r))
            continue;
        const strand p = strand_of(k, r);
        const shift s = {share(k, c, r), share(k, n0, r), share(k, floor, r)};
        const vec max = share(k, top, r);
        const span own = own_span(k);
        sums sum = sums_of_nothing();
        for (span part = {own.begin, own.begin}; part.begin < own.end; part.begin = part.end) {
            sums these = sums_of_nothing();
            part.end = own.end - part.begin < CSM_PART ? own.end : part.begin + CSM_PART;
            EACH_VECTOR(k, part, k->unit, exp_step(k, &p, i, count, whole, &s, max, what, &these));
            if (k->along && k->b->team)
                give_part(k, part.begin / CSM_PART, &these);
            else
                sum = part.begin ? sums_together(&sum, &these) : these;
        }
        if (k->along && k->b->team)
            sum = team_sums(k);
        put_wide_share(k, other, r, sum.other);
        if (what & SPLIT)
            put_share(k, count, r, k->along ? w_round(w_hsum(w_of(sum.count))) : sum.count);
        if (what & (DENSE | ENTROPY))
            put_wide_share(k, drops, r, sum.drops);
        if (what & DENSE)
            put_wide_share(k, mass, r, sum.mass);
    }
    sums all = {w_get(other), v_get(count), w_get(drops), w_get(mass)};
    return all;
}

/* The sum without one of the largest exponentials, e. */
CSM_INLINE wide rest_of(const sums *s, vec e)
{
    return w_add_product(s->other, v_sub(s->count, v_set(1)), e);
}

CSM_INLINE vec ratio(wide rest, vec e) { return w_round(w_div(rest, w_of(e))); }

/* y = e hi + e lo + c f. */
CSM_INLINE void scale_step(const batch *k, const strand *p, ptrdiff_t i, int count, int whole,
                           vec hi, vec lo, vec f, mask lives, int what)
{
    EACH(u, count) {
        vec e = load_at(k, p->y, i + u, p->ys, whole, 0), v = v_fma(e, hi, v_mul(e, lo));
        if (what & DENSE)
            v = v_fma(coefficient(k, p, i + u, whole, what), f, v);
        store_at(k, p->y, i + u, p->ys, whole, what & IGNORES ? v_keep(lives, v) : v);
    }
}

/* y = e a + c f, a and f a number per row; c only where DENSE. Ignored rows get 0 where IGNORES. */
CSM_INLINE void scale_pass(const batch *k, wide a, vec f, int what)
{
    real hi[V_LANES], lo[V_LANES], fs[V_LANES], alive[V_LANES] = {0};
    vec high, low;
    w_split(a, &high, &low);
    v_put(hi, high);
    v_put(lo, low);
    v_put(fs, f);
    for (ptrdiff_t i = 0; what & IGNORES && i < k->rows; i++)
        alive[i] = !is_ignored(k, i);
    for (ptrdiff_t s = 0; s < strands(k); s++) {
        const strand p = strand_of(k, s);
        const vec h = share(k, hi, s), l = share(k, lo, s), c = share(k, fs, s);
        const mask lives = v_ne(share(k, alive, s), v_set(0));
        EACH_VECTOR(k, own_span(k), 1, scale_step(k, &p, i, count, whole, h, l, c, lives, what));
    }
}
