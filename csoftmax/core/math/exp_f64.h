/* What math/exp.h needs to know of float64: ranges, constants, polynomial. Includes nothing. */

#define EXP_NEAR 1490        /* up to this abs(max/T) the shift is an integer: exp takes the max off itself  */
#define EXP_LIFT 512         /* exponentials come out up to this many powers of two above e^((x - max)/T)    */
#define EXP_REACH 1102       /* further below the max, 2^EXP_LIFT e^-EXP_REACH sqrt(2) rounds to 0           */
#define EXP_MAGIC 0x1.8p52    /* a number of this size has no fraction bits                                     */
#define T_POWERS 1000        /* powers of two by which T is brought near 1                                     */
#define T_MAX INFINITY       /* any T                                                                         */

/* tools/coefficients.py prints these. LN2_HI has LN2_BITS bits, so that n * LN2_HI is exact for 12-bit n. */
#define LOG2E 0x1.71547652b82fep0           /* 1.4426950408889634     */
#define LN2_BITS 41
#define LN2_HI 0x1.62e42fefa3000p-1         /* 0.69314718055966296    */
#define LN2_LO 0x1.3de6af278ece6p-42        /* 2.8235290563031577e-13 */

/* q[u] = (e^t - 1 - t)/t^2 of t[u], abs(t) <= ln2/2, near-minimax: e^t within 5.4e-18. */
CSM_INLINE void exp_q(vec *q, const vec *t, int count)
{
    static const real c[] = {
        0x1.ad202a5a04f91p-26, /* 2.4978400105302950e-08 */
        0x1.289fd903634f4p-22, /* 2.7625300466005021e-07 */
        0x1.71df55b506aa9p-19, /* 2.7557641382296616e-06 */
        0x1.a019aae5aa974p-16, /* 2.4801508422692004e-05 */
        0x1.a01a011bc47fdp-13, /* 0.00019841269465153957 */
        0x1.6c16c17cd7851p-10, /* 0.0013888888926980767 */
        0x1.11111111289cap-7,  /* 0.0083333333335006317 */
        0x1.55555555531cfp-5,  /* 0.041666666666603562 */
        0x1.5555555555501p-3,  /* 0.16666666666666433 */
        0x1p-1,                /* 0.5 */
    };
    EACH(u, count) q[u] = v_set(c[0]);
    _Pragma("GCC unroll 16") for (size_t k = 1; k < sizeof c / sizeof *c; k++)
        EACH(u, count) q[u] = v_fma(q[u], t[u], v_set(c[k]));
}
