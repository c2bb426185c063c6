/* log(1 + r) for r >= 0, accurate also where r is tiny.

   1 + r = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)]; f = 2^-n r + (2^-n - 1), both terms exact (n = 0: f = r).
   With s = f/(2 + f), z = s^2:  log(1 + f) = 2 atanh(s) = f - (f^2/2 - s (f^2/2 + z P(z))).

   Domain: 0 <= r <= 2^100; r = 0 gives 0, NaN gives NaN. Worst error 0.9 ULP (tests/values/test_accuracy.py). */
#ifndef CSM_LOG1P_H
#define CSM_LOG1P_H

#include "../vec/vec.h"
#include "two_sum.h"

/* m + log(1 + r), m finite, with one rounding at the end. */
static CSM_SHARED vec v_add_log1p(vec m, vec r)
{
    vec one = v_set(1), half = v_set((real)0.5);
    vec n = v_add(v_exponent(v_mul(v_add(one, r), v_set((real)0x1.6a09e6p-1))), one);   /* 1/sqrt(2) */
    vec down = v_power(v_sub(v_set(EXP_MAGIC + EXP_BIAS), n));
    vec f = v_fma(down, r, v_sub(down, one));
    vec s = v_div(f, v_add(v_set(2), f)), z = v_mul(s, s);
    vec square = v_mul(half, v_mul(f, f));
    vec tail = v_fma(n, v_set(LN2_LO), v_mul(s, v_fma(z, log_p(z), square)));
    vec err, sum = two_sum(m, v_mul(n, v_set(LN2_HI)), &err);
    return v_add(sum, v_add(v_sub(f, v_sub(square, tail)), err));
}

CSM_INLINE vec v_log1p(vec r) { return v_add_log1p(v_set(0), r); }

#endif
