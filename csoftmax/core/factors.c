/* Sums of b e^a whose terms are of very different sizes, or not finite: one row after another, without overflow and
   without losing a term that shows in the result. Few rows need it. Includes plan.h, math/double.h. */
#include "plan.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "math/double.h"

#define LOG2E 0x1.71547652b82fep0  /* 1.4426950408889634 */

/* Terms so many powers of two below the largest do not show beside it, however many there are; and e^-3000 is below
   that whatever its factor. */
enum { SHOWS = -200, LEAST = -3000 };

/* A row: its n numbers a and b, `as` and `bs` elements apart. */
typedef struct {
    const char *a, *b;
    csm_dtype dtype;
    ptrdiff_t n, as, bs;
} row;

typedef struct { double log, sign; } signed_log;

static double a_of(const row *r, ptrdiff_t i) { return csm_get(r->a, r->dtype, i * r->as); }
static double b_of(const row *r, ptrdiff_t i) { return csm_get(r->b, r->dtype, i * r->bs); }

/* s + *err = a + b exactly (Knuth). */
static double two_sum(double a, double b, double *err)
{
    const double s = a + b, t = s - a;
    *err = (a - (s - t)) + (b - t);
    return s;
}

/* The largest term, as m e^a 2^exponent, and the sum of those that are not finite; a is -inf if there is none. */
typedef struct { double a, infinite; int exponent; } largest;

static largest largest_of(const row *r)
{
    largest l = {-INFINITY, 0, 0};
    double most = -INFINITY;
    for (ptrdiff_t i = 0; i < r->n; i++) {
        const double a = a_of(r, i), b = b_of(r, i);
        int exponent;
        if (b == 0)
            continue;
        if (!isfinite(b) || !(a < INFINITY)) {
            l.infinite += isfinite(a) ? b : b * (a < 0 ? 0 : a);
            continue;
        }
        frexp(b, &exponent);
        const double size = a + exponent * LN2_37;
        if (size > most) {
            most = size;
            l.a = a;
            l.exponent = exponent;
        }
    }
    return l;
}

/* log v = its result + n ln2, v > 0. */
static double log_of(double v, int *n)
{
    double m = frexp(v, n);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        --*n;
    }
    return log_near_1(m);
}

/* The term b e^a in units of the largest's power of two times e^(its a), rounded twice. */
static double term_of(double a, double b, const largest *l)
{
    double rest;
    int exponent;
    const double mantissa = frexp(b, &exponent), d = two_sum(a, -l->a, &rest);
    if (!(d > LEAST))
        return 0;
    const double n = rint(d * LOG2E), power = n + exponent - l->exponent;
    return power < SHOWS ? 0 : mantissa * exp_near_0((d - n * LN2_37) - n * LN2_REST, rest) * power_of((int)power);
}

static signed_log sum_of(const row *r)
{
    const largest l = largest_of(r);
    double sum = 0, low = 0, err;
    if (l.infinite != 0)
        return isnan(l.infinite) ? (signed_log){NAN, NAN} : (signed_log){INFINITY, l.infinite > 0 ? 1 : -1};
    for (ptrdiff_t i = 0; i < r->n && l.a > -INFINITY; i++)
        if (b_of(r, i) != 0) {
            sum = two_sum(sum, term_of(a_of(r, i), b_of(r, i), &l), &err);
            low += err;
        }
    sum += low;
    if (sum == 0)
        return (signed_log){-INFINITY, 0};
    int n;
    const double log = log_of(fabs(sum), &n);
    n += l.exponent;
    const double m = two_sum(l.a, n * LN2_37, &err);
    return (signed_log){m + (log + (n * LN2_REST + err)), sum > 0 ? 1 : -1};
}

void csm_settle_sums(const csm_block *b, csm_dtype dtype, int layout)
{
    const ptrdiff_t size = csm_itemsize(dtype), by_rows = layout == CSM_ROWS;
    for (ptrdiff_t i = 0; i < b->rows; i++) {
        if (csm_get(b->r, dtype, 2 * i + 1) != CSM_UNSETTLED)
            continue;
        const row r = {(const char *)b->x + i * size * (by_rows ? b->xs : 1),
                       (const char *)b->g + i * size * (by_rows ? b->gs : 1), dtype, b->n,
                       by_rows ? 1 : b->xs, by_rows ? 1 : b->gs};
        const signed_log s = sum_of(&r);
        csm_put(b->r, dtype, 2 * i, s.log);
        csm_put(b->r, dtype, 2 * i + 1, s.sign);
    }
}
