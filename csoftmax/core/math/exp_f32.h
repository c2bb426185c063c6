/* What math/exp.h needs to know of float32: ranges, constants, polynomial. Includes nothing.

   Worst error of v_exp over every float32 of its domain, T = 1: see tests/test_accuracy.py. */

#define EXP_NEAR 208         /* up to this abs(max/T) the shift is an integer: exp takes the max off itself  */
#define EXP_LIFT 64         /* exponentials come out up to this many powers of two above e^((x - max)/T)    */
#define EXP_REACH 150        /* further below the max, 2^EXP_LIFT e^-EXP_REACH sqrt(2) rounds to 0           */
#define EXP_MAGIC 0x1.8p23f   /* a number of this size has no fraction bits                                     */
#define T_POWERS 120         /* powers of two by which T is brought near 1                                     */
#define T_MAX 0x1p220        /* from here on x/T is below 2^-92 and every exponential 1                       */

/* tools/coefficients.py prints these. LN2_HI has LN2_BITS bits, so that n * LN2_HI is exact for 10-bit n. */
#define LOG2E 0x1.715476p0f     /* 1.44269502     */
#define LN2_BITS 14
#define LN2_HI 0x1.62e000p-1f   /* 0.693115234    */
#define LN2_LO 0x1.0bfbe8p-15f  /* 3.19461833e-05 */

/* q[u] = (e^t - 1 - t)/t^2 of t[u], abs(t) <= ln2/2, near-minimax: e^t within 3.7e-9. */
CSM_INLINE void exp_q(vec *q, const vec *t, int count)
{
    static const real c[] = {
        0x1.6b7950p-10f, /* 0.0013865428 */
        0x1.12305cp-7f,  /* 0.0083675813 */
        0x1.55567ep-5f,  /* 0.0416672193 */
        0x1.5554a2p-3f,  /* 0.166665331 */
        0x1p-1f,         /* 0.5 */
    };
    EACH(u, count) q[u] = v_set(c[0]);
    _Pragma("GCC unroll 16") for (size_t k = 1; k < sizeof c / sizeof *c; k++)
        EACH(u, count) q[u] = v_fma(q[u], t[u], v_set(c[k]));
}
