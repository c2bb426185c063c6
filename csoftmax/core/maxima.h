/* The largest logits of the rows of a batch, of the batch after it, and what exponentials take off for them.
   Includes nothing; needs batch.h and math/exp.h before it. */

/* Logits; -inf, whatever they are, where they have factors and that is 0. */
CSM_INLINE vec logits_at(batch k, const strand *p, ptrdiff_t i, int u, int whole, int factors)
{
    const vec x = load_at(k, p->x, i, u, p->xs, whole, -INFINITY);
    return factors ? v_pick(v_eq(load_at(k, p->g, i, u, p->gs, whole, 0), v_set(0)), v_set(-INFINITY), x) : x;
}

CSM_INLINE void max_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, int factors, vec m[WIDTH])
{
    EACH(u, count) m[u] = v_max(logits_at(k, p, i, u, whole, factors), m[u]);
}

/* The largest of what the threads of a team found, in all lanes. */
CSM_INLINE vec team_max(batch k, vec m)
{
    const csm_team *team = team_of(k);
    if (!team)
        return m;
    team->exchange[team->me * CSM_EXCHANGE] = v_first(m);
    team->meet(team->place);
    for (int i = 0; i < team->threads; i++)
        m = v_max(v_set((real)team->exchange[i * CSM_EXCHANGE]), m);
    return m;
}

CSM_INLINE void max_in(batch k, int factors, vec *max)
{
    const vec none = v_set(-INFINITY);
    real each[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        if (skips(k, r))
            continue;
        const strand p = strand_of(k, r);
        vec m[4] = {none, none, none, none};
        EACH_VECTOR(k, own_span(k), max_step(k, &p, i, count, whole, factors, m));
        if (k.along)
            m[0] = team_max(k, v_hmax(v_max(v_max(m[0], m[1]), v_max(m[2], m[3]))));
        EACH(u, k.width) max[u] = m[u];
        each[r] = v_first(m[0]);
    }
    if (k.along)
        max[0] = get_rows(k, each);
}

/* The largest logits, NaN passed over; -inf of an empty row. One function for each layout: inlined wherever it is
   used it would be 40 KB of the library. Such functions are not given a batch, which gcc would copy by loads wider than
   the stores that made it: these wait until the stores have left the core (log_softmax of 3 classes then takes half as
   long again). */
#define MAX_PASS(name, ALONG, WIDE, FACTORED)                                                       \
    static CSM_SHARED void name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, vec *max)        \
    {                                                                                               \
        max_in(batch_of(b, row, rows, NULL, ALONG, 0, WIDE), FACTORED, max);                        \
    }

MAX_PASS(max_along, 1, 1, 0)
MAX_PASS(max_across, 0, 1, 0)
MAX_PASS(max_wide, 0, WIDTH, 0)
MAX_PASS(max_factors_along, 1, 1, 1)
MAX_PASS(max_factors_across, 0, 1, 1)
MAX_PASS(max_factors_wide, 0, WIDTH, 1)

CSM_INLINE void max_pass(batch k, vec *max)
{
    if (k.lone)
        max_in(k, 0, max);
    else if (k.b->factors)
        (k.along ? max_factors_along : k.width > 1 ? max_factors_wide : max_factors_across)(k.b, k.row, k.rows, max);
    else
        (k.along ? max_along : k.width > 1 ? max_wide : max_across)(k.b, k.row, k.rows, max);
}

/* A batch of those that go up to row `end`, `most` rows each, with its largest logits: along, in the caches, those of
   all but the first are what the batch before left in `max`. */
CSM_INLINE batch batch_after(batch k, int first, ptrdiff_t end, ptrdiff_t most, vec *max)
{
    const ptrdiff_t left = end - k.row - k.rows;
    if (first || !k.cached)
        max_pass(k, max);
    k.max = max;
    k.next = !k.cached ? 0 : left < most ? left : most;
    return k;
}

/* The largest logits of the next batch: what this one waits for meanwhile, its sums and their quotients, comes from
   chains that leave the core idle (docs/notes/tiles.md). */
CSM_INLINE void look_ahead(batch k)
{
    if (k.next > 0)
        max_pass(batch_of(k.b, k.row + k.rows, k.next, k.t, k.along, k.unit, k.width), k.max);
}

/* What is taken off the rows. */
CSM_INLINE void shift_rows(batch k, shift *s)
{
    EACH_PART(u, k) s[u] = shift_of(k.max[u], v_set(EXP_LIFT), k.t, k.unit);
}

CSM_INLINE void nan_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, vec *found)
{
    EACH(u, count) {
        vec v = load_at(k, p->x, i, u, p->xs, whole, 0);
        *found = v_pick(v_eq(v, v), *found, v_set(1));
    }
}

/* Whether a row holds a NaN: 1, else 0. For rows whose max is infinite; not on a fast path. The batch is not wide. */
CSM_INLINE vec nan_pass(batch k)
{
    real each[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        const strand p = strand_of(k, r);
        vec found = v_set(0);
        EACH_VECTOR(k, whole_span(k), nan_step(k, &p, i, count, whole, &found));
        if (!k.along)
            return found;
        each[r] = v_first(v_hmax(found));
    }
    return v_get(each);
}
