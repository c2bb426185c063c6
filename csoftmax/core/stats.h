/* What is learnt of the rows of a batch on the way through them: max, shift, sums; and the pass that scales them.
   Includes nothing; needs batch.h, math/exp.h and math/log1p.h before it. */

CSM_INLINE void max_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, vec m[4])
{
    EACH(u, count) m[u] = v_max(load_at(k, p->x, i + u, p->xs, whole, -INFINITY), m[u]);
}

/* The largest of what the threads of a team found, in all lanes. */
CSM_INLINE vec team_max(batch k, vec m)
{
    const csm_team *team = k.b->team;
    if (!team)
        return m;
    team->exchange[team->me * CSM_EXCHANGE] = v_first(m);
    team->meet();
    for (int i = 0; i < team->threads; i++)
        m = v_max(v_set((real)team->exchange[i * CSM_EXCHANGE]), m);
    return m;
}

CSM_INLINE vec max_in(batch k)
{
    real max[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        if (skips(k, r))
            continue;
        const strand p = strand_of(k, r);
        const vec none = v_set(-INFINITY);
        vec m[4] = {none, none, none, none};
        EACH_VECTOR(k, own_span(k), max_step(k, &p, i, count, whole, m));
        vec all = v_max(v_max(m[0], m[1]), v_max(m[2], m[3]));
        put_share(k, max, r, k.along ? team_max(k, v_hmax(all)) : all);
    }
    return v_get(max);
}

/* The largest logits, NaN passed over; -inf of an empty row. One function for each layout: inlined wherever it is
   used it would be 40 KB of the library. Such functions are not given a batch, which gcc would copy by loads wider than
   the stores that made it: these wait until the stores have left the core (log_softmax of 3 classes then takes half as
   long again). */
static CSM_SHARED vec max_along(const csm_block *b, ptrdiff_t row, ptrdiff_t rows)
{
    return max_in(batch_of(b, row, rows, NULL, 1, 0));
}

static CSM_SHARED vec max_across(const csm_block *b, ptrdiff_t row, ptrdiff_t rows)
{
    return max_in(batch_of(b, row, rows, NULL, 0, 0));
}

CSM_INLINE vec max_pass(batch k) { return (k.along ? max_along : max_across)(k.b, k.row, k.rows); }

CSM_INLINE void nan_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, vec *found)
{
    EACH(u, count) {
        vec v = load_at(k, p->x, i + u, p->xs, whole, 0);
        *found = v_pick(v_eq(v, v), *found, v_set(1));
    }
}

/* Whether a row holds a NaN: 1, else 0. For rows whose max is infinite; not on a fast path. */
CSM_INLINE vec nan_pass(batch k)
{
    real found[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        const strand p = strand_of(k, r);
        vec any = v_set(0);
        EACH_VECTOR(k, whole_span(k), nan_step(k, &p, i, count, whole, &any));
        put_share(k, found, r, k.along ? v_hmax(any) : any);
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

/* What a pass does besides; constants at each use. KEEP_EXP: where there is a y. SPLIT: the max is left out where
   what remains counts: where one logit holds nearly all of S, S - e is lost by subtraction, but the sum of the others
   is right to the last bits. */
enum { KEEP_EXP = 1, SPLIT = 2, DENSE = 4, ENTROPY = 8, WEIGHED = 16, IGNORES = 32 };

/* c of vector i: what the loss counts of (m - x)/T + L. That is g, or WEIGHED, w (keep g + smooth); see losses.h. */
CSM_INLINE vec coefficient(batch k, const strand *p, ptrdiff_t i, int whole, int what)
{
    const csm_block *b = k.b;
    if (!(what & WEIGHED))
        return load_at(k, p->g, i, p->gs, whole, 0);
    vec c = v_set((real)b->smooth);
    if (p->g)
        c = v_fma(v_set((real)b->keep), load_at(k, p->g, i, p->gs, whole, 0), c);
    if (b->weight)
        c = v_mul(c, k.along ? load_at(k, b->weight, i, V_LANES, whole, 0) : v_set(((const real *)b->weight)[i]));
    return k.along && !whole ? v_keep(m_first(k.lanes), c) : c;
}

/* `count` vectors of a strand from the i-th on. They are added in `wide`: each rounding in `real` would cost a softmax
   an ULP where one logit holds most of the sum (docs/decisions/0002). A coefficient of 0 takes no part whatever its
   logit: 0 * inf = 0. Meanwhile other logits are fetched: this pass computes, the others move. */
CSM_INLINE void exp_step(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                         const shift *s, vec m, int what, sums *sum)
{
    vec x[4], e[4];
    if (whole)
        EACH(u, count) __builtin_prefetch(p->x + (i + u) * p->xs + p->next);
    if (whole && !k.along && what & KEEP_EXP && p->y)
        EACH(u, count) __builtin_prefetch(p->y + (i + u) * p->ys + p->next, 1);
    EACH(u, count) e[u] = x[u] = load_at(k, p->x, i + u, p->xs, whole, -INFINITY);
    exp_many(e, count, s, k.t, k.unit);
    if (what & KEEP_EXP && p->y)
        EACH(u, count) store_at(k, p->y, i + u, p->ys, whole, e[u]);
    EACH(u, count) {
        if (what & (DENSE | ENTROPY)) {
            vec c = what & DENSE ? coefficient(k, p, i + u, whole, what) : e[u], d = drop(m, x[u], k.t, k.unit);
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
    /* Fours along only: whether a row across is in a whole vector depends on the rows beside it, its bits must not. */
    if (k.along && count == 4) {
        sum->other = w_add_four(sum->other, e[0], e[1], e[2], e[3]);
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

_Static_assert(3 * W_SIZE + V_LANES <= CSM_EXCHANGE, "the sums of a part fit their place");

/* The sums of the parts of a row that a team shares: each thread gives those of its own, and adds all in order. */
CSM_INLINE double *place_of_part(const csm_team *team, ptrdiff_t part)
{
    return team->exchange + (team->threads + part) * CSM_EXCHANGE;
}

CSM_INLINE void give_part(batch k, ptrdiff_t part, const sums *s)
{
    double *to = place_of_part(k.b->team, part);
    real count[V_LANES];
    w_put(to, s->other);
    w_put(to + W_SIZE, s->drops);
    w_put(to + 2 * W_SIZE, s->mass);
    v_put(count, s->count);
    for (int i = 0; i < V_LANES; i++)
        to[3 * W_SIZE + i] = count[i];
}

CSM_INLINE sums team_sums(batch k)
{
    sums all = sums_of_nothing();
    k.b->team->meet();
    for (ptrdiff_t part = 0; part < parts_of(k); part++) {
        const double *from = place_of_part(k.b->team, part);
        real count[V_LANES];
        for (int i = 0; i < V_LANES; i++)
            count[i] = (real)from[3 * W_SIZE + i];
        const sums s = {w_get(from), v_get(count), w_get(from + W_SIZE), w_get(from + 2 * W_SIZE)};
        all = part ? sums_together(&all, &s) : s;
    }
    return all;
}

/* Exponentials of rows with largest logits m, and their sums. */
CSM_INLINE sums exp_pass(batch k, vec m, const shift *shifted, int what)
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
            EACH_VECTOR(k, part, exp_step(k, &p, i, count, whole, &s, max, what, &these));
            if (k.along && k.b->team)
                give_part(k, part.begin / CSM_PART, &these);
            else
                sum = part.begin ? sums_together(&sum, &these) : these;
        }
        if (k.along && k.b->team)
            sum = team_sums(k);
        put_wide_share(k, other, r, sum.other);
        if (what & SPLIT)
            put_share(k, count, r, k.along ? w_round(w_hsum(w_of(sum.count))) : sum.count);
        if (what & (DENSE | ENTROPY))
            put_wide_share(k, drops, r, sum.drops);
        if (what & DENSE)
            put_wide_share(k, mass, r, sum.mass);
    }
    sums all = {w_get(other), v_get(count), w_get(drops), w_get(mass)};
    return all;
}

/* What is known of rows after their exponentials. */
typedef struct {
    vec m, top, ratio, L;   /* the max, its exponential, (S - top)/top, log(S/top)  */
    wide rest, S;           /* the sum without one max, and with it                 */
} summary;

CSM_INLINE summary summary_of(batch k, vec m, const shift *s, const sums *e)
{
    const vec top = v_exp(m, s, k.t, k.unit);
    const wide rest = w_add_product(e->other, v_sub(e->count, v_set(1)), top);
    const vec ratio = w_ratio(rest, top);
    summary a = {m, top, ratio, v_log1p(ratio), rest, w_add(rest, top)};
    return a;
}

/* y = e hi + e lo + c f. */
CSM_INLINE void scale_step(batch k, const strand *p, ptrdiff_t i, int count, int whole,
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
CSM_INLINE void scale_pass(batch k, wide a, vec f, int what)
{
    real hi[V_LANES], lo[V_LANES], fs[V_LANES], alive[V_LANES] = {0};
    vec high, low;
    w_split(a, &high, &low);
    v_put(hi, high);
    v_put(lo, low);
    v_put(fs, f);
    if (what & IGNORES)
        v_put(alive, alive_of(k));
    for (ptrdiff_t s = 0; s < strands(k); s++) {
        const strand p = strand_of(k, s);
        const vec h = share(k, hi, s), l = share(k, lo, s), c = share(k, fs, s);
        const mask lives = v_ne(share(k, alive, s), v_set(0));
        EACH_VECTOR(k, own_span(k), scale_step(k, &p, i, count, whole, h, l, c, lives, what));
    }
}
