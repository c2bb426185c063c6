/* Products with the Jacobians of softmax and log_softmax, from probabilities p. In a block x is p.
   Includes nothing; needs stats.h and turn.h, and what these need, before it.

     VJP        y = p (g - sum p g)/T      softmax forward and backward, its Jacobian being symmetric
     LOG_JVP    y = (g - sum p g)/T        log_softmax forward
     LOG_VJP    y = (g - p sum g)/T        log_softmax backward

   The g of a p of at least 1/2, the pivot c, is taken off every g first: next to one-hot g - sum p g would cancel.

   Sums over a row are those of p (g - c), or of g, and are divided by T at last: h = (g - c)/T has an error of its own.
   They are made four terms at a time in `real`, two where T is not 1, and of these in `wide`: a four is rounded by
   itself, so that the error does not grow with the row. Rows of few classes are summed in `real`, as a tree. Where such
   a sum may have overflowed or lost terms to underflow it is made again, all in `wide`.
   Measured: docs/notes/products.md. */
enum { VJP, LOG_JVP, LOG_VJP };

/* Results of so many bytes are written past the caches, if at least `lines` cache lines of them are adjacent. */
enum { STREAM_BYTES = 6 << 20, STREAM_LINES = 4 };

CSM_INLINE int pays_to_stream(const csm_block *b, ptrdiff_t adjacent, int lines)
{
    enum { SIZE = sizeof(elem) };
    return b->y != b->x && b->y != b->g && adjacent >= lines * CSM_LINE / SIZE
           && b->walked * b->n >= STREAM_BYTES / SIZE;
}

/* What is computed; `op` and `unit` (T = 1) are constants wherever these functions are inlined. */
typedef struct {
    int op, unit;
    const temper *t;
} product_job;

/* The same for row r of V_LANES that have their own: what tempers_of leaves behind the temperatures of the lanes. */
CSM_INLINE product_job job_of(const product_job *j, const csm_block *b, ptrdiff_t r)
{
    return (product_job){j->op, j->unit, !j->unit && b->temperatures ? j->t + 1 + r : j->t};
}

/* g and c are 2^-k times what they are called where T = T' 2^k is above 1: their difference overflows only where h
   does. */
CSM_INLINE vec scaled(const product_job *j, vec g) { return j->unit ? g : v_mul(g, j->t->shrink); }

CSM_INLINE vec quotient(const product_job *j, vec v)
{
    if (j->unit)
        return v;
    vec u = v_mul(v, j->t->inv);
    return v_add(u, quotient_rest(v, u, j->t));
}

/* What is summed, with p or without: T' h. */
CSM_INLINE vec term(const product_job *j, vec g, vec c)
{
    const vec v = j->op == LOG_VJP ? g : v_sub(g, c);
    return j->unit ? v : v_mul(v, j->t->grow);
}

/* A sum of terms over T'. */
CSM_INLINE vec total(const product_job *j, wide sum)
{
    const vec s = w_round(sum);
    if (j->unit)
        return s;
    return v_pick(v_lt(v_abs(s), v_set(INFINITY)), w_round(w_mul(sum, w_add(w_of(j->t->inv), j->t->inv_lo))), s);
}

/* An entry of y; `sum` is that of p h, or of h. h may overflow where T is tiny: 0 * inf. */
CSM_INLINE vec entry(const product_job *j, vec p, vec h, vec sum)
{
    if (j->op == LOG_VJP)
        return v_fnma(p, sum, h);
    vec v = v_sub(h, sum);
    if (j->op == LOG_JVP)
        return v;
    v = v_mul(p, v);
    return j->unit ? v : v_keep(v_ne(p, v_set(0)), v);
}

/* Whether p is at least 1/2. */
CSM_INLINE mask is_likely(vec p) { return v_le(v_set((real)0.5), p); }

/* The g of likely p, -inf for others. */
CSM_INLINE vec candidate(vec p, vec g) { return v_pick(is_likely(p), g, v_set(-INFINITY)); }

/* The largest candidate as pivot: 0 where there is none, or none that is finite. */
CSM_INLINE vec settled(vec c) { return v_keep(v_lt(v_abs(c), v_set(INFINITY)), c); }

/* Whether a sum of fours is not to be trusted: beside terms below 2^-100 underflow shows. A 0 is that of a p that is
   one-hot, or of terms too small to show. */
CSM_INLINE mask doubtful(vec sum)
{
    const vec size = v_abs(sum), high = v_set((real)0x1p100);
    const vec low = v_keep(v_ne(size, v_set(0)), v_set((real)0x1p-100));
    return v_ne(v_max(v_min(size, high), low), size);
}

/* Vectors of p and g one step apart, of `lanes` lanes each: the whole vectors of a row, its last one, or V_LANES rows
   with one a lane; of these `width` side by side, each with sums of its own. `lanes` is V_LANES where it is a constant,
   and `width` always is one. */
typedef struct {
    const elem *p, *g;
    elem *y;
    ptrdiff_t ps, gs, ys;               /* the steps */
    ptrdiff_t count, lanes, ahead;      /* so far ahead arrays are fetched; 0: they are not */
    int width;
} strip;

/* Of step i, the u-th. */
CSM_INLINE vec p_at(const strip *s, ptrdiff_t i, int u) { return load_part(s->p + i * s->ps + u * V_LANES, s->lanes); }

CSM_INLINE vec g_at(const product_job *j, const strip *s, ptrdiff_t i, int u)
{
    return scaled(j, load_part(s->g + i * s->gs + u * V_LANES, s->lanes));
}

CSM_INLINE vec term_at(const product_job *j, const strip *s, ptrdiff_t i, int u, vec c)
{
    return term(j, g_at(j, s, i, u), c);
}

/* Asks for what is `ahead` of the u-th vector of a step at `a`: of p, g and y in a pass each, so that there are never
   more requests than the CPU keeps. */
CSM_INLINE void fetch(const strip *s, const elem *a, int u, int writes)
{
    if (s->ahead)
        writes ? __builtin_prefetch(a + u * V_LANES + s->ahead, 1) : __builtin_prefetch(a + u * V_LANES + s->ahead);
}

/* Raises c to the candidates. */
CSM_INLINE void pivot_pass(const product_job *j, const strip *s, vec *c)
{
    for (ptrdiff_t i = 0; i < s->count; i++)
        EACH(u, s->width) {
            fetch(s, s->p + i * s->ps, u, 0);
            c[u] = v_max(candidate(p_at(s, i, u), g_at(j, s, i, u)), c[u]);
        }
}

/* For LOG_VJP there is no pivot pass. */
CSM_INLINE void fetch_terms(const product_job *j, const strip *s, ptrdiff_t i, int u)
{
    fetch(s, s->g + i * s->gs, u, 0);
    if (j->op == LOG_VJP)
        fetch(s, s->p + i * s->ps, u, 0);
}

/* Adds the terms to the sums; `found` gets the g of likely p, for which fours of vectors are searched only where there
   is one. */
CSM_INLINE void sum_pass(const product_job *j, const strip *s, const vec *c, wide *sum, vec *found)
{
    const vec one = v_set(1);
    ptrdiff_t i = 0;
    for (; i + 4 <= s->count; i += 4)
        EACH(u, s->width) {
            vec h[4], p[4], four;
            EACH(k, 4) fetch_terms(j, s, i + k, u);
            EACH(k, 4) h[k] = term_at(j, s, i + k, u, c[u]);
            if (j->op == LOG_VJP) {
                four = v_add(v_add(h[0], h[1]), v_add(h[2], h[3]));
            } else {
                EACH(k, 4) p[k] = p_at(s, i + k, u);
                four = v_fma(p[1], h[1], v_mul(p[0], h[0]));
                if (!j->unit)
                    sum[u] = w_add(sum[u], four);
                four = v_fma(p[3], h[3], v_fma(p[2], h[2], j->unit ? four : v_set(0)));
                if (m_any(is_likely(v_max(v_max(p[0], p[1]), v_max(p[2], p[3])))))
                    EACH(k, 4) found[u] = v_pick(is_likely(p[k]), g_at(j, s, i + k, u), found[u]);
            }
            sum[u] = w_add(sum[u], four);
        }
    if (i >= s->count)
        return;
    vec four[WIDTH];
    EACH(u, s->width) four[u] = v_set(0);
    for (; i < s->count; i++)
        EACH(u, s->width) {
            vec p = j->op == LOG_VJP ? one : p_at(s, i, u);
            fetch_terms(j, s, i, u);
            four[u] = v_fma(p, term_at(j, s, i, u, c[u]), four[u]);
            found[u] = v_pick(is_likely(p), g_at(j, s, i, u), found[u]);
        }
    EACH(u, s->width) sum[u] = w_add(sum[u], four[u]);
}

/* The same for the u-th, where range matters more than time. */
static wide sum_again(const product_job *j, const strip *s, int u, wide sum, vec c)
{
    for (ptrdiff_t i = 0; i < s->count; i++) {
        const vec v = term_at(j, s, i, u, c);
        const vec p = p_at(s, i, u);
        if (j->op == LOG_VJP)
            sum = w_add(sum, v);
        else
            sum = w_add_product(sum, p, j->unit ? v : v_keep(v_ne(p, v_set(0)), v));
    }
    return sum;
}

CSM_INLINE void product_pass(const product_job *j, const strip *s, const vec *c, const vec *sum, int streams)
{
    for (ptrdiff_t i = 0; i < s->count; i++)
        EACH(u, s->width) {
            const vec p = j->op == LOG_JVP ? c[u] : p_at(s, i, u), h = quotient(j, term_at(j, s, i, u, c[u]));
            const vec v = entry(j, p, h, sum[u]);
            elem *y = s->y + i * s->ys + u * V_LANES;
            if (streams) {
                v_stream(y, v);
            } else {
                fetch(s, s->y + i * s->ys, u, 1);
                store_part(y, v, s->lanes);
            }
        }
}

/* The whole vectors of row `row` from class `from` on, and its last one, if any, that is not. */
CSM_INLINE void strips_of(const csm_block *b, ptrdiff_t row, ptrdiff_t from, strip *whole, strip *last)
{
    const elem *p = (const elem *)b->x + row * b->xs + from, *g = (const elem *)b->g + row * b->gs + from;
    elem *y = (elem *)b->y + row * b->ys + from;
    const ptrdiff_t count = (b->n - from) / V_LANES, end = count * V_LANES, left = b->n - from - end;
    const strip s = {p, g, y, V_LANES, V_LANES, V_LANES, count, V_LANES, 0, 1};
    const strip t = {p + end, g + end, y + end, 0, 0, 0, left > 0, left, 0, 1};
    *whole = s;
    *last = t;
}

static wide row_again(const product_job *j, const csm_block *b, ptrdiff_t row, vec c)
{
    strip whole, last;
    strips_of(b, row, 0, &whole, &last);
    return w_hsum(sum_again(j, &last, 0, sum_again(j, &whole, 0, w_zero(), c), c));
}

/* Past the caches, the vector in which a row ends and the next begins is put together aside: a cache line that is
   written in parts is read before (docs/notes/memory.md). */
typedef struct {
    elem part[V_LANES];
    ptrdiff_t held;         /* entries of the first row; 0: there is no joint */
} joint;

/* Where the entries of a row go that come before its first aligned vector. */
CSM_INLINE elem *before_row(joint *o, elem *y) { return o->held ? o->part + o->held : y; }

/* Writes the joint before the row at y, once these are there. */
CSM_INLINE void write_joint(const joint *o, elem *y)
{
    if (o->held)
        v_stream(y - o->held, v_load(o->part));
}

/* Where the last `left` entries of a row go, at y but for the joint; `follows`: another row begins behind them. */
CSM_INLINE elem *after_row(joint *o, elem *y, ptrdiff_t left, int follows)
{
    o->held = follows ? left : 0;
    return o->held ? o->part : y;
}

/* Rows along, one after another. */
CSM_INLINE void products_wide(const csm_block *b, const product_job *all, temper *t)
{
    const int streams = pays_to_stream(b, b->n, STREAM_LINES);
    joint o = {.held = 0};
    for (ptrdiff_t row = 0; row < b->rows; row++) {
        strip whole, last;
        if (!all->unit && b->temperatures && row % V_LANES == 0)
            tempers_of(t, b->temperatures + row, b->rows - row < V_LANES ? b->rows - row : V_LANES, 1);
        const product_job of_row = job_of(all, b, row % V_LANES), *const j = &of_row;
        strips_of(b, row, 0, &whole, &last);
        vec c = v_set(0), found = v_set(-INFINITY);
        wide sum = w_zero();
        sum_pass(j, &whole, &c, &sum, &found);
        sum_pass(j, &last, &c, &sum, &found);
        if (j->op != LOG_VJP && m_any(v_ne(found, v_set(-INFINITY)))) {
            c = settled(v_hmax(found));
            sum = w_zero();
            sum_pass(j, &whole, &c, &sum, &found);
            sum_pass(j, &last, &c, &sum, &found);
        }
        sum = w_hsum(sum);
        if (m_any(doubtful(w_round(sum))))
            sum = row_again(j, b, row, c);
        const vec s = total(j, sum);
        if (streams) {
            elem *const y = whole.y;
            const ptrdiff_t before = misaligned(y, V_LANES);
            const strip head = {whole.p, whole.g, before_row(&o, y), 0, 0, 0, before > 0, before, 0, 1};
            strips_of(b, row, before, &whole, &last);
            product_pass(j, &head, &c, &s, 0);
            write_joint(&o, y);
            product_pass(j, &whole, &c, &s, 1);
            last.y = after_row(&o, last.y, last.lanes, b->ys == b->n && row + 1 < b->rows);
        } else {
            product_pass(j, &whole, &c, &s, 0);
        }
        product_pass(j, &last, &c, &s, 0);
    }
    if (streams)
        v_drain();
}

/* Rows across, one a lane. A row gets the same result whatever rows are beside it. */
CSM_INLINE void products_of_lanes(const product_job *j, const strip *s, int streams)
{
    vec c[WIDTH], found[WIDTH], sum[WIDTH];
    wide sums[WIDTH];
    EACH(u, s->width) found[u] = v_set(0);
    EACH(u, s->width) c[u] = v_set(j->op == LOG_VJP ? 0 : -INFINITY);
    EACH(u, s->width) sums[u] = w_zero();
    if (j->op != LOG_VJP) {
        pivot_pass(j, s, c);
        EACH(u, s->width) c[u] = settled(c[u]);
    }
    sum_pass(j, s, c, sums, found);
    EACH(u, s->width) {
        const mask again = doubtful(w_round(sums[u]));
        sum[u] = total(j, sums[u]);
        if (m_any(again))
            sum[u] = v_pick(again, total(j, sum_again(j, s, u, w_zero(), c[u])), sum[u]);
    }
    product_pass(j, s, c, sum, streams);
}

/* Rows [row, row + lanes) of a block, a class a step, and those of width - 1 vectors more. */
CSM_INLINE strip strip_across(const csm_block *b, ptrdiff_t row, ptrdiff_t lanes, int width)
{
    const int is_tile = b->xs == TILE_ROWS;
    return (strip){(const elem *)b->x + row, (const elem *)b->g + row, (elem *)b->y + row, b->xs, b->gs, b->ys,
                   b->n, lanes, is_tile ? 0 : BATCHES_AHEAD * V_LANES, width};
}

/* Rows to where y begins a cache line, if results are to be written past the caches; else -1. Lines that are written in
   parts would be read first. */
CSM_INLINE ptrdiff_t rows_to_line(const csm_block *b)
{
    enum { LINE = CSM_LINE / sizeof(elem) };
    return b->ys % LINE || !pays_to_stream(b, b->rows, STREAM_LINES) ? -1 : misaligned(b->y, LINE);
}

/* Wide batches while there are so many rows, where T = 1; else, and of what is left, a vector of rows after another. */
CSM_INLINE void products_across(const csm_block *b, const product_job *j, temper *t)
{
    const int width = j->unit ? WIDTH : 1;
    const ptrdiff_t head = rows_to_line(b), wide = width * V_LANES;
    ptrdiff_t rows;
    for (ptrdiff_t row = 0; row < b->rows; row += rows) {
        const ptrdiff_t left = (row < head ? head : b->rows) - row;
        rows = left >= wide ? wide : left < V_LANES ? left : V_LANES;
        if (!j->unit && b->temperatures)
            tempers_of(t, b->temperatures + row, rows, 0);
        if (rows == wide) {
            const strip s = strip_across(b, row, V_LANES, width);
            products_of_lanes(j, &s, head >= 0);
        } else {
            const strip s = strip_across(b, row, rows, 1);
            products_of_lanes(j, &s, 0);
        }
    }
    if (head >= 0)
        v_drain();
}
