/* One lane of float32 in plain C: the model of the vector layer. Operations as in README.md. */
#ifndef CSM_VEC_SCALAR_F32_H
#define CSM_VEC_SCALAR_F32_H

#include "../isa/target.h"

typedef float elem;
typedef float real;
typedef float vec;
typedef int mask;
typedef double acc;
#define V_LANES 1
#define ACC_SIZE V_LANES
#define V_GROUP 1
#define V_TABLE 1
#define V_LOG2_LANES 0
#define V_FUSED 0
#define V_HALF

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
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return (vec)((double)a * b - p); }
CSM_INLINE vec v_max(vec a, vec b) { return a > b ? a : b; }
CSM_INLINE vec v_min(vec a, vec b) { return a < b ? a : b; }
CSM_INLINE vec v_abs(vec a) { return fabsf(a); }

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

CSM_INLINE uint32_t bits_of(vec a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
CSM_INLINE vec of_bits(uint32_t bits)
{
    vec a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

/* c ? a : b without a branch, which would be mispredicted: the probabilities of a row are of all sizes. */
CSM_INLINE uint32_t pick_bits(int c, uint32_t a, uint32_t b) { return b ^ ((a ^ b) & -(uint32_t)c); }

/* 2^112 moves the exponent's offset from 15 to 127, and makes subnormals normal; above stand infinity and NaN. */
CSM_INLINE vec v_load_half(const char *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    const uint32_t finite = bits_of(of_bits(magnitude << 13) * 0x1p112f);
    return of_bits(sign | (magnitude < 0x7c00u ? finite : finite | 0x7f800000u));
}

/* From 65520 on the nearest is infinity. Below the normal numbers, 1/2 has the subnormals' last place. */
CSM_INLINE void v_store_half(char *p, vec v)
{
    const uint32_t sign = bits_of(v) >> 16 & 0x8000u, magnitude = bits_of(fabsf(v));
    const uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13;
    const uint32_t subnormal = bits_of(fabsf(v) + 0.5f) - 0x3f000000u;
    uint32_t half = pick_bits(magnitude < 0x38800000u, subnormal, normal);
    half = pick_bits(magnitude < 0x477ff000u, half, 0x7c00u);
    half = pick_bits(magnitude <= 0x7f800000u, half, 0x7e00u);
    const uint16_t bits = (uint16_t)(sign | half);
    memcpy(p, &bits, sizeof bits);
}

CSM_INLINE vec v_load_bfloat(const char *p)
{
    uint16_t bfloat;
    memcpy(&bfloat, p, sizeof bfloat);
    return of_bits((uint32_t)bfloat << 16);
}
CSM_INLINE void v_store_bfloat(char *p, vec v)
{
    uint32_t bits = bits_of(v);
    uint16_t bfloat = (uint16_t)((v != v ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    memcpy(p, &bfloat, sizeof bfloat);
}

CSM_INLINE vec v_power(vec a) { return of_bits(bits_of(a) << 23); }

CSM_INLINE vec v_rough_ratio(real a, vec b) { return of_bits(bits_of(a) + bits_of(1) - bits_of(b)); }
CSM_INLINE vec v_lower(vec a) { return of_bits(bits_of(a) - (126u << 23)); }
CSM_INLINE vec v_subnormal(vec a)
{
    return of_bits((bits_of(a) & 0x80000000u) | (bits_of(fabsf(a) + 0x1p23f) - bits_of(0x1p23f)));
}

CSM_INLINE vec v_exponent(vec a) { return (vec)((int)(bits_of(a) >> 23 & 255) - 127); }

CSM_INLINE vec v_swap_lanes(vec a, int i) { (void)i; return a; }
CSM_INLINE vec v_zip_lo(vec a, vec b, int i) { (void)b, (void)i; return a; }
CSM_INLINE vec v_zip_hi(vec a, vec b, int i) { (void)a, (void)i; return b; }
CSM_INLINE real v_first(vec a) { return a; }
CSM_INLINE vec v_lanes(void) { return 0; }

CSM_INLINE acc a_get(const double *p) { return *p; }
CSM_INLINE acc a_load(const double *p) { return a_get(p); }
CSM_INLINE void a_store(double *p, acc w) { *p = w; }
CSM_INLINE void a_put(double *p, acc w) { *p = w; }
CSM_INLINE void a_put_first(double *p, acc w) { *p = w; }
CSM_INLINE acc a_zero(void) { return 0; }
CSM_INLINE acc a_set(double a) { return a; }
CSM_INLINE acc a_pair(double hi, double lo) { return hi + lo; }
CSM_INLINE acc a_of(vec a) { return a; }
CSM_INLINE acc a_add(acc w, vec v) { return w + v; }
CSM_INLINE acc a_add_four(acc w, vec a, vec b, vec c, vec d, int T_is_1)
{
    (void)T_is_1;
    return w + a + b + c + d;
}
CSM_INLINE acc a_add_product(acc w, vec a, vec b) { return w + (double)a * b; }
CSM_INLINE acc a_sum(acc a, acc b) { return a + b; }
CSM_INLINE acc a_sub(acc a, acc b) { return a - b; }
CSM_INLINE acc a_mul(acc a, acc b) { return a * b; }
CSM_INLINE acc a_div(acc a, acc b) { return a / b; }
CSM_INLINE vec a_round(acc w) { return (vec)w; }
CSM_INLINE acc a_hsum(acc w) { return w; }
CSM_INLINE acc a_ratio(acc w, vec a) { return a_div(w, a_of(a)); }
CSM_INLINE acc a_unless(mask m, acc w) { return m ? 0 : w; }
CSM_INLINE acc a_clamp(acc w, double most) { return w > most ? most : w < -most ? -most : w; }

CSM_INLINE void a_split(acc w, vec *hi, vec *lo)
{
    *hi = (vec)w;
    *lo = (vec)(w - *hi);
}

#endif
