/* Results below the normal range, without arithmetic on subnormal numbers: some CPUs take 150 cycles for an instruction
   that has one as operand or result. What may be so small is computed scaled up by a power of two, and a result that is
   subnormal is made from its bits, which are its multiple of the least subnormal number. Lanes for which a computation
   is not meant are kept from underflow by v_max or by arithmetic on bits: a compiler may drop a choice of lanes whose
   result is not used. */
#ifndef CSM_UNDERFLOW_H
#define CSM_UNDERFLOW_H

#include "../vec/vec.h"
#include "double.h"

/* 2^k, abs(k) <= RANGE_BITS: a constant where k is one. */
CSM_INLINE real real_power(int k) { return (real)power_of(k); }

/* v 2^-RANGE_BITS, correctly rounded; v is finite, and 0 or normal. */
CSM_INLINE vec v_unscale(vec v)
{
    const mask below = v_lt(v_abs(v), v_set(1));
    const vec normal = v_lower(v);
    if (!m_any(below))
        return normal;
    return v_select(below, v_subnormal(v_mul(v, v_set(real_power(FRACTION_BITS)))), normal);
}

/* w rounded once. */
CSM_INLINE vec a_result(acc w)
{
    const vec up = a_round(a_mul(w, a_set(power_of(RANGE_BITS))));
    const mask below = v_lt(v_abs(up), v_set(1));
    if (!m_any(below))
        return a_round(w);
    return v_select(below, v_unscale(up), a_round(a_unless(below, w)));
}

/* The multiples e a of exponentials, a number per row: a as hi + lo. Exponentials below `least` are scaled up first:
   their multiple, or the part of it that is due to lo, may be subnormal. */
typedef struct { vec hi, lo, least; } multiple_of_e;

/* lo is rounded, so that it is 0 or no less than 2^-(FRACTION_BITS + 11) hi. */
CSM_INLINE multiple_of_e multiple_by(acc a)
{
    multiple_of_e j;
    a_split(a, &j.hi, &j.lo);
    const vec beside = v_mul(j.hi, v_set(real_power(-10)));
    j.lo = v_sub(v_add(j.lo, beside), beside);
    j.least = v_rough_ratio(real_power(FRACTION_BITS + 12 - RANGE_BITS), v_abs(j.hi));
    return j;
}

CSM_INLINE vec times_e(vec e, const multiple_of_e *j) { return v_fma(e, j->hi, v_mul(e, j->lo)); }

/* The same where some exponentials may be below `least`; those that are not give the same bits. */
CSM_INLINE vec times_small_e(vec e, const multiple_of_e *j)
{
    const mask small = v_lt(e, j->least);
    const vec up = v_mul(e, v_set(real_power(RANGE_BITS)));
    return v_select(small, v_unscale(times_e(up, j)), times_e(v_max(j->least, e), j));
}

#endif
