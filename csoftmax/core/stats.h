/* What is learnt of the rows of a batch on the way through their exponentials: sums; and the pass that scales them.
   Includes nothing; needs maxima.h, math/exp.h, math/log1p.h and math/underflow.h before it. */

/* Sums over each row. */
typedef struct {
    wide other;         /* exponentials of the logits below the max; of all of them without SPLIT;
                           FACTORS: abs(g)                                                          */
    vec count, top;     /* SPLIT: how many logits are the max; across, the exponential of it        */
    wide drops;         /* DENSE: sum of c (m - x)/T;  ENTROPY: sum of e (m - x)/T;
                           FACTORS: sum of e g                                                      */
    wide mass;          /* DENSE: sum of c, which is g, or WEIGHED                                  */
} sums;

/* What a pass does besides; constants at each use. KEEP_EXP: where there is a y. SPLIT: the max is left out where
   what remains counts: where one logit holds nearly all of S, S - e is lost by subtraction, but the sum of the others
   is right to the last bits. HESSIAN: there is an h. */
enum { KEEP_EXP = 1, SPLIT = 2, DENSE = 4, ENTROPY = 8, WEIGHED = 16, IGNORES = 32, HESSIAN = 64,
       FACTORS = 128 };

/* c of a vector: what the loss counts of (m - x)/T + L. That is g, or WEIGHED, w (keep g + smooth), 0 where w is
   infinite but its factor is 0; see losses.h. */
CSM_INLINE vec coefficient(batch k, const strand *p, ptrdiff_t i, int u, int whole, int what)
{
    const csm_block *b = k.b;
    if (!(what & WEIGHED))
        return load_at(k, p->g, i, u, p->gs, whole, 0);
    vec c = v_set((real)b->smooth);
    if (p->g)
        c = v_fma(v_set((real)b->keep), load_at(k, p->g, i, u, p->gs, whole, 0), c);
    if (b->weight)
        c = v_keep(v_ne(c, v_set(0)), v_mul(c, k.along ? load_at(k, b->weight, i, u, V_LANES, whole, 0)
                                                       : v_set(((const real *)b->weight)[i])));
    return k.along && !whole ? v_keep(m_first(k.lanes), c) : c;
}

/* Asks for what this pass reads and writes next, along of longer rows only for their logits; and along for what a later
   pass writes of this row, if it stays until then. */
CSM_INLINE void fetch_next(batch k, const strand *p, ptrdiff_t i, int count, int what)
{
    const int y_later = k.along && !(what & KEEP_EXP), h_later = k.along;
    EACH(u, count) __builtin_prefetch(p->x + i * p->xs + u * V_LANES + p->next);
    if (what & (DENSE | FACTORS) && p->g && k.asks)
        EACH(u, count) __builtin_prefetch(p->g + i * p->gs + u * V_LANES + p->next);
    if (p->y && (y_later ? k.stays : k.asks))
        EACH(u, count) __builtin_prefetch(p->y + i * p->ys + u * V_LANES + (y_later ? 0 : p->next), 1);
    if (what & HESSIAN && (h_later ? k.stays : k.asks))
        EACH(u, count) __builtin_prefetch(p->h + i * p->hs + u * V_LANES + (h_later ? 0 : p->next), 1);
}

/* Adds c (m - x)/T and c of `count` vectors; of e instead, where ENTROPY. A coefficient of 0 takes no part whatever its
   logit: 0 * inf = 0. Products go by fours: the error of one stays within it. c, of any sign, may have a sum that is
   small beside it, and is added in `wide` vector by vector. */
CSM_INLINE void add_drops(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                          const shift *s, int what, const vec *x, const vec *e, sums *sum)
{
    vec c[4], d[4];
    EACH(u, count) c[u] = what & DENSE ? coefficient(k, p, i, u, whole, what) : e[u];
    EACH(u, count) d[u] = v_keep(v_ne(c[u], v_set(0)), drop(s[owner(k, u)].m, x[u], k.t, k.unit));
    if (k.along && count == 4) {
        sum->drops = w_add(sum->drops, v_fma(c[3], d[3], v_fma(c[2], d[2], v_fma(c[1], d[1], v_mul(c[0], d[0])))));
    } else {
        EACH(u, count) sum[owner(k, u)].drops = w_add(sum[owner(k, u)].drops, v_mul(c[u], d[u]));
    }
    if (what & DENSE)
        EACH(u, count) sum[owner(k, u)].mass = w_add(sum[owner(k, u)].mass, c[u]);
}

/* Adds the products of e with its factors, and leaves the sizes of these in e. */
CSM_INLINE void add_products(batch k, const strand *p, ptrdiff_t i, int count, int whole, vec *e, sums *sum)
{
    EACH(u, count) {
        const vec b = load_at(k, p->g, i, u, p->gs, whole, 0);
        sum[owner(k, u)].drops = w_add_product(sum[owner(k, u)].drops, e[u], b);
        e[u] = v_abs(b);
    }
}

/* Takes the exponentials of the max out of e, and counts them. */
CSM_INLINE void take_top(batch k, int count, const shift *s, const vec *x, vec *e, sums *sum)
{
    EACH(u, count) {
        sums *const to = sum + owner(k, u);
        const mask same = v_eq(x[u], s[owner(k, u)].m);
        if (!k.along)
            to->top = v_pick(same, e[u], to->top);
        e[u] = v_drop(same, e[u]);
        to->count = v_count(to->count, same);
    }
}

/* The first half of exponentials, of `count` vectors of a strand from the i-th on. */
CSM_INLINE void reduce_step(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                            const shift *s, int what, reduced *to)
{
    vec x[4];
    if (whole && !k.lone)
        fetch_next(k, p, i, count, what);
    EACH(u, count) x[u] = logits_at(k, p, i, u, whole, what & FACTORS);
    reduce_many(to, x, count, s, !k.along, k.t, k.unit);
}

/* The second, and what is done with them. Exponentials are added in `wide`, four of a row at a time as far as the
   bounds allow: each rounding in `real` would cost a softmax half an ULP where one logit holds most of the sum
   (docs/notes/exp.md). Meanwhile other logits are fetched: this pass computes, the others move. */
CSM_INLINE void exp_step(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                         const shift *s, int what, const reduced *from, sums *sum)
{
    vec x[4], e[4];
    exp_reduced(e, from, count, k.t, k.unit);
    if (what & (SPLIT | DENSE | ENTROPY))
        EACH(u, count) x[u] = load_at(k, p->x, i, u, p->xs, whole, -INFINITY);
    if (what & KEEP_EXP && p->y)
        EACH(u, count) store_at(k, p->y, i, u, p->ys, whole, e[u]);
    if (what & (DENSE | ENTROPY))
        add_drops(k, p, i, count, whole, s, what, x, e, sum);
    if (what & SPLIT)
        take_top(k, count, s, x, e, sum);
    if (what & FACTORS)
        add_products(k, p, i, count, whole, e, sum);
    if (k.along && count == 4) {
        sum->other = w_add_four(sum->other, e[0], e[1], e[2], e[3], k.unit);
    } else {
        EACH(u, count) sum[owner(k, u)].other = w_add(sum[owner(k, u)].other, e[u]);
    }
}

/* Both halves. */
CSM_INLINE void exp_whole(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                          const shift *s, int what, sums *sum)
{
    reduced a[4];
    reduce_step(k, p, i, count, whole, s, what, a);
    exp_step(k, p, i, count, whole, s, what, a, sum);
}

/* Of rows along, V_GROUP whole vectors at a time from the i-th on while there are so many before `end`; returns the
   next. The first half of some is under way while the second half of those before is computed: else the chains of one
   step fill the core's window before those of the next are in it (docs/notes/exp.md). */
CSM_INLINE ptrdiff_t exp_run(batch k, const strand *p, ptrdiff_t i, ptrdiff_t end, const shift *s, int what, sums *sum)
{
    reduced now[V_GROUP], next[V_GROUP];
    if (i + V_GROUP > end)
        return i;
    reduce_step(k, p, i, V_GROUP, 1, s, what, now);
    EACH(u, V_GROUP) next[u] = now[u];
    for (ptrdiff_t left = (end - i) / V_GROUP; left > 0; left--, i += V_GROUP) {
        if (left > 1)
            reduce_step(k, p, i + V_GROUP, V_GROUP, 1, s, what, next);
        exp_step(k, p, i, V_GROUP, 1, s, what, now, sum);
        EACH(u, V_GROUP) now[u] = next[u];
    }
    return i;
}

CSM_INLINE void exp_span(batch k, const strand *p, span v, const shift *s, int what, sums *sum)
{
    /* 16 registers are too few beside a Hessian. */
    const int overlaps = V_TABLE > 1 || (V_LANES > 1 && !(what & HESSIAN));
    if (overlaps && k.along && !k.lone && k.cached)
        v.begin = exp_run(k, p, v.begin, k.full < v.end ? k.full : v.end, s, what, sum);
    EACH_VECTOR(k, v, exp_whole(k, p, i, count, whole, s, what, sum));
}

CSM_INLINE sums sums_of_nothing(void) { return (sums){w_zero(), v_set(0), v_set(0), w_zero(), w_zero()}; }

CSM_INLINE sums sums_together(const sums *a, const sums *b)
{
    sums s = {w_sum(a->other, b->other), v_add(a->count, b->count), a->top,
              w_sum(a->drops, b->drops), w_sum(a->mass, b->mass)};
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
    k.b->team->meet(k.b->team->place);
    for (ptrdiff_t part = 0; part < parts_of(k); part++) {
        const double *from = place_of_part(k.b->team, part);
        real count[V_LANES];
        for (int i = 0; i < V_LANES; i++)
            count[i] = (real)from[3 * W_SIZE + i];
        const sums s = {w_get(from), v_get(count), v_set(0), w_get(from + W_SIZE), w_get(from + 2 * W_SIZE)};
        all = part ? sums_together(&all, &s) : s;
    }
    return all;
}

/* The sums of a row along, in all lanes. */
CSM_INLINE sums over_lanes(sums s, int what)
{
    s.other = w_hsum(s.other);
    if (what & SPLIT)
        s.count = v_hsum(s.count);
    if (what & (DENSE | ENTROPY | FACTORS))
        s.drops = w_hsum(s.drops);
    if (what & DENSE)
        s.mass = w_hsum(s.mass);
    return s;
}

/* Exponentials of rows, and their sums. Along, the only row of a batch goes by parts, several rows go whole. The sums
   of one row stay as they are, since single numbers come late through memory. */
CSM_INLINE void exp_pass(batch k, const shift *s, int what, sums *sum)
{
    if (!k.along) {
        const strand p = strand_of(k, 0);
        EACH(u, k.width) sum[u] = sums_of_nothing();
        exp_span(k, &p, whole_span(k), s, what, sum);
        look_ahead(k);
        EACH(u, k.width) sum[u].count = v_counted(sum[u].count);
        return;
    }
    const int alone = k.rows == 1;
    const span own = own_span(k);
    const ptrdiff_t pieces = k.lone ? 1 : alone ? (own.end - own.begin + CSM_PART - 1) / CSM_PART : k.rows;
    real count[V_LANES] = {0}, c[V_LANES], base[V_LANES], plain[V_LANES], floor[V_LANES], lowest[V_LANES], m[V_LANES];
    double other[W_SIZE] = {0}, drops[W_SIZE] = {0}, mass[W_SIZE] = {0};
    sums all = sums_of_nothing();
    v_put(c, s->c), v_put(base, s->base), v_put(plain, s->plain), v_put(floor, s->floor);
    v_put(lowest, s->lowest), v_put(m, s->m);
    for (ptrdiff_t i = 0; i < pieces; i++) {
        const ptrdiff_t r = alone ? 0 : i;
        if (skips(k, r))
            continue;
        const strand p = strand_of(k, r);
        const batch here = at_strand(k, r);
        const shift mine = k.lone ? *s : (shift){v_set(c[r]), v_set(base[r]), v_set(plain[r]), v_set(floor[r]),
                                                 v_set(lowest[r]), v_set(m[r])};
        span piece = own;
        sums these = sums_of_nothing();
        if (alone) {
            piece.begin += i * CSM_PART;
            piece.end = own.end - piece.begin < CSM_PART ? own.end : piece.begin + CSM_PART;
        }
        exp_span(here, &p, piece, &mine, what, &these);
        these.count = v_counted(these.count);
        if (!alone) {
            these = over_lanes(these, what);
            w_put_first(other + r, these.other);
            if (what & SPLIT)
                count[r] = v_first(these.count);
            if (what & (DENSE | ENTROPY | FACTORS))
                w_put_first(drops + r, these.drops);
            if (what & DENSE)
                w_put_first(mass + r, these.mass);
        } else if (team_of(k)) {
            give_part(k, piece.begin / CSM_PART, &these);
        } else {
            all = i ? sums_together(&all, &these) : these;
        }
    }
    look_ahead(k);
    if (alone)
        *sum = over_lanes(team_of(k) ? team_sums(k) : all, what);
    else
        *sum = (sums){w_get(other), v_get(count), v_set(0), w_get(drops), w_get(mass)};
}

/* What is known of rows after their exponentials. */
typedef struct {
    vec top;                /* the exponential of the max                                               */
    wide rest, S;           /* the sum without one max, and with it                                     */
    vec ratio;              /* (S - top)/top, of which log1p is log(S/top); where that is tiny, 0, ...  */
    wide tiny;              /* ... and this is it, and its log1p; else 0                                */
    int any_tiny;           /* whether a row of the batch has a tiny ratio; else `tiny` is not set. Other rows
                               have the same bits either way                                            */
} summary;

CSM_INLINE void complete_in(summary *a, const sums *e, int width)
{
    for (int u = 0; u < width; u++) {
        a[u].rest = w_add_product(e[u].other, v_sub(e[u].count, v_set(1)), a[u].top);
        a[u].S = w_add(a[u].rest, a[u].top);
        const vec rest = w_round(a[u].rest), least = v_mul(a[u].top, v_set(NEAR_TINY));
        const mask is_tiny = v_lt(rest, least);
        wide ratio = w_ratio(a[u].rest, a[u].top);
        a[u].any_tiny = m_any(is_tiny);
        if (RARELY(a[u].any_tiny)) {
            a[u].tiny = w_drop(v_le(least, rest), ratio);
            ratio = w_drop(is_tiny, ratio);
        }
        a[u].ratio = w_round(ratio);
    }
}

static CSM_SHARED void complete(summary *a, const sums *e, int width) { complete_in(a, e, width); }

CSM_INLINE void summarise(batch k, const shift *s, const sums *e, summary *a)
{
    EACH_PART(u, k) a[u].top = k.along ? v_exp(s[u].m, &s[u], k.t, k.unit) : e[u].top;
    (k.lone ? complete_in : complete)(a, e, k.width);
}

/* y = e a + c f, a and f numbers per row; c only where DENSE. Ignored rows get 0 where IGNORES. */
typedef struct { multiple_of_e a; vec f, alive; } scaling;

CSM_INLINE scaling scaling_of(batch k, wide a, vec f, int what)
{
    return (scaling){multiple_by(a), f, what & IGNORES ? alive_of(k) : f};
}

/* c f + v. Where v belongs to an exponential below `least`, and may be subnormal, it is too small to show beside a
   c f that is not. */
CSM_INLINE vec add_dense(vec c, vec f, vec v, vec e, vec least, int is_small)
{
    if (is_small) {
        const vec shows = v_set(real_power(2 * FRACTION_BITS + 20 - RANGE_BITS));
        v = v_drop(v_lt(e, v_keep(v_le(shows, v_abs(v_mul(c, f))), least)), v);
    }
    return v_fma(c, f, v);
}

CSM_INLINE void scale_vectors(batch k, const strand *p, ptrdiff_t i, int count, int whole, const vec *e,
                              const scaling *all, int what, int is_small)
{
    EACH(u, count) {
        const scaling *j = all + owner(k, u);
        vec v = is_small ? times_small_e(e[u], &j->a) : times_e(e[u], &j->a);
        if (what & DENSE)
            v = add_dense(coefficient(k, p, i, u, whole, what), j->f, v, e[u], j->a.least, is_small);
        store_at(k, p->y, i, u, p->ys, whole, what & IGNORES ? v_keep(v_ne(j->alive, v_set(0)), v) : v);
    }
}

/* Whether an exponential is below what its row allows. */
CSM_INLINE int any_below(batch k, const vec *e, const vec *least, int count)
{
    if (k.along) {
        vec lowest = e[0];
        EACH(u, count) lowest = v_min(e[u], lowest);
        return m_any(v_lt(lowest, least[0]));
    }
    mask below = v_lt(e[0], least[0]);
    EACH(u, count) below = m_or(below, v_lt(e[u], least[u]));
    return m_any(below);
}

CSM_INLINE void scale_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, const scaling *all, int what)
{
    vec e[4], least[4];
    EACH(u, count) e[u] = load_at(k, p->y, i, u, p->ys, whole, INFINITY);
    EACH(u, count) least[u] = all[owner(k, u)].a.least;
    if (RARELY(any_below(k, e, least, count)))
        scale_vectors(k, p, i, count, whole, e, all, what, 1);
    else
        scale_vectors(k, p, i, count, whole, e, all, what, 0);
}

CSM_INLINE void scale_pass(batch k, const scaling *j, int what)
{
    EACH_STRAND(k, scaling, j, EACH_VECTOR(k, own_span(k), scale_step(k, &p, i, count, whole, mine, what)));
}
