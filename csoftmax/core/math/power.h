/* r^gamma of numbers in [0, 1], and what focal losses make of it.

   log r = n ln2 + log m with m in [sqrt(1/2), sqrt(2)], absolutely right to 2^-53, times gamma as hi + lo: r^gamma is
   within 2 (1 + gamma) 2^-53 of itself. */
#ifndef CSM_POWER_H
#define CSM_POWER_H

#include "../block.h"
#include "../vec/vec.h"
#include "double.h"
#include "product.h"
#include "underflow.h"

/* r^gamma of r in [0, 1], gamma > 0; rounded twice where that is below the normal range. */
static CSM_SHARED double power_in(double r, double gamma)
{
    if (!(r >= power_of(-1022)))
        return r == r ? 0 : r;
    int n = exponent_of(r);
    double m = r * power_of(-n / 2) * power_of(-n - -n / 2);
    if (m < 0.70710678118654752)
        m *= 2, n--;
    const double high = n * LN2_37, low = log_near_1(m) + n * LN2_REST;
    const double log = high + low, log_rest = low - (log - high), product = gamma * log;
    if (product < -746)
        return 0;
    const double rest = gamma * log_rest + product_error(gamma, log, product);
    const int k = (int)(product * 1.4426950408889634 - 0.5);
    return exp_near_0((product - k * LN2_37) - k * LN2_REST, rest) * power_of(k / 2) * power_of(k - k / 2);
}

/* By what focal_gamma multiplies losses and gradients; the latter is about 2^-down. */
typedef struct { acc loss, gradient; vec down; } focus;

/* Whether a b, of which nothing larger is made, is 0 as `real`. */
CSM_INLINE int vanishes(double a, double b)
{
    enum { UP = 100 };      /* that the product is normal if a is */
    return fabs(a * power_of(UP) * b) < power_of(UP - RANGE_BITS - FRACTION_BITS - 1);
}

/* Of rows with this r, p_t and l, what is made of them multiplied by these. l/r is next to 1 where r is small. */
static CSM_SHARED focus focus_of(const csm_block *b, acc r, acc p, acc l, acc of_loss, acc of_gradient)
{
    double rest[V_LANES], own[V_LANES], loss[V_LANES], weight[V_LANES], scale[V_LANES];
    real down[V_LANES];
    a_store(rest, r), a_store(own, p), a_store(loss, l), a_store(weight, of_loss), a_store(scale, of_gradient);
    for (ptrdiff_t i = 0; i < V_LANES; i++) {
        const double power = rest[i] < b->focal_least ? 0 : power_in(rest[i], b->focal_gamma);
        const double ratio = rest[i] < 0x1p-60 ? 1 : loss[i] / rest[i];
        const double f = power * (1 + (own[i] > 0 ? b->focal_gamma * own[i] * ratio : 0));
        loss[i] = !b->sums && vanishes(power * loss[i], weight[i]) ? 0 : power;
        own[i] = vanishes(f * rest[i], scale[i]) ? 0 : f;
        down[i] = (real)-exponent_of(own[i]);
    }
    return (focus){a_load(loss), a_load(own), v_get(down)};
}

#endif
