/* One lane of float64 in plain C: the model of the vector layer. Operations as in README.md.
   Needs math/product.h before it. */
#ifndef CSM_VEC_SCALAR_F64_H
#define CSM_VEC_SCALAR_F64_H

#include "../isa/target.h"
#include "../math/product.h"

typedef double elem;
typedef double real;
typedef double vec;
typedef int mask;
#define V_LANES 1
#define V_GROUP 1
#define V_TABLE 1
#define V_LOG2_LANES 0
#define V_FUSED 0

CSM_INLINE mask m_first(ptrdiff_t n) { return n > 0; }

CSM_INLINE vec v_set(real a) { return a; }
CSM_INLINE vec v_load(const elem *p) { return *p; }
CSM_INLINE void v_store(elem *p, vec v) { *p = v; }
CSM_INLINE void v_stream(elem *p, vec v) { *p = v; }
CSM_INLINE void v_drain(void) { }
CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill) { return n ? *p : fill; }
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n) { if (n) *p = v; }
CSM_INLINE vec v_get(const real *p) { return *p; }
CSM_INLINE void v_put(real *p, vec v) { *p = v; }
CSM_INLINE vec v_of_ints(const ptrdiff_t *p) { return (vec)*p; }

CSM_INLINE vec v_add(vec a, vec b) { return a + b; }
CSM_INLINE vec v_sub(vec a, vec b) { return a - b; }
CSM_INLINE vec v_mul(vec a, vec b) { return a * b; }
CSM_INLINE vec v_div(vec a, vec b) { return a / b; }
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return c - a * b; }
CSM_INLINE vec v_max(vec a, vec b) { return a > b ? a : b; }
CSM_INLINE vec v_min(vec a, vec b) { return a < b ? a : b; }
CSM_INLINE vec v_abs(vec a) { return fabs(a); }

CSM_INLINE mask v_eq(vec a, vec b) { return a == b; }
CSM_INLINE mask v_ne(vec a, vec b) { return a != b; }
CSM_INLINE mask v_lt(vec a, vec b) { return a < b; }
CSM_INLINE mask v_le(vec a, vec b) { return a <= b; }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return m ? a : b; }
CSM_INLINE vec v_where(mask m, vec a) { return m ? a : 0; }
CSM_INLINE vec v_unless(mask m, vec a) { return m ? 0 : a; }
CSM_INLINE vec v_count(vec c, mask m) { return c + (vec)m; }
CSM_INLINE vec v_counted(vec c) { return c; }
CSM_INLINE mask m_or(mask a, mask b) { return a | b; }
CSM_INLINE int m_any(mask m) { return m; }

CSM_INLINE vec v_mul_err(vec a, vec b, vec p)
{
    return fabs(a) < 0x1p990 && fabs(b) < 0x1p990 ? product_error(a, b, p) : 0;
}

CSM_INLINE uint64_t bits_of(vec a)
{
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
CSM_INLINE vec of_bits(uint64_t bits)
{
    vec a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

CSM_INLINE vec v_power(vec a) { return of_bits(bits_of(a) << 52); }

CSM_INLINE vec v_rough_ratio(real a, vec b) { return of_bits(bits_of(a) + bits_of(1) - bits_of(b)); }
CSM_INLINE vec v_lower(vec a) { return of_bits(bits_of(a) - ((uint64_t)1022 << 52)); }
CSM_INLINE vec v_subnormal(vec a)
{
    return of_bits((bits_of(a) & (uint64_t)1 << 63) | (bits_of(fabs(a) + 0x1p52) - bits_of(0x1p52)));
}

CSM_INLINE vec v_exponent(vec a) { return (vec)((int)(bits_of(a) >> 52 & 2047) - 1023); }

CSM_INLINE vec v_swap_lanes(vec a, int i) { (void)i; return a; }
CSM_INLINE vec v_zip_lo(vec a, vec b, int i) { (void)b, (void)i; return a; }
CSM_INLINE vec v_zip_hi(vec a, vec b, int i) { (void)a, (void)i; return b; }
CSM_INLINE real v_first(vec a) { return a; }
CSM_INLINE vec v_lanes(void) { return 0; }

#endif
