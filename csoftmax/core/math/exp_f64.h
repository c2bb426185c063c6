/* What math/exp.h needs to know of float64: ranges, constants, coefficients. */
#ifndef CSM_EXP_F64_H
#define CSM_EXP_F64_H

#ifndef CSM_ISA
#define CSM_ALONE_F64      /* which vectors vec.h stands in with */
#endif
#include "../vec/vec.h"

#define EXP_NEAR 1490        /* up to this abs(max/T) the shift is an integer: exp takes the max off itself  */
#define EXP_UPSCALE 512         /* exponentials come out this many powers of two above e^((x - max)/T), ...       */
#define EXP_MAX_UPSCALE 700    /* ... and up to this many where what is computed from them is scaled up          */
#define EXP_BIAS 1023        /* of exponent bits; those of 2^-EXP_BIAS are 0                                   */
#define EXP_LEAST -900       /* exponentials that would be less than 2^EXP_LEAST are 0: rounding errors of sums
                                of others are normal numbers                                                   */
#define EXP_MAGIC 0x1.8p52   /* a number of this size has no fraction bits                                     */
#define TINY 0x1p-400         /* a reduced logit below this changes no exponential                              */
#define NEAR_TINY 0x1p-300   /* beside this the rounding errors of tiny numbers are normal numbers              */
#define RANGE_BITS 1022      /* the least normal number is 2^-RANGE_BITS, ...                                  */
#define FRACTION_BITS 52     /* ... and subnormal numbers are multiples of 2^-(RANGE_BITS + FRACTION_BITS)     */
#define MOST_SCALE 0x1.fffffffffffffp1023 /* of a gradient: times an exponential of 0 it is 0                    */
#define T_POWERS 1000        /* powers of two by which T is brought near 1                                     */
#define T_MAX INFINITY       /* any T                                                                         */

/* tools/coefficients.py prints what follows. LN2_HI has LN2_BITS bits, so that n * LN2_HI is exact for the multiples n
   of 1/V_TABLE, of 12 bits before the point, that occur. Then abs(t) <= ln2/(2 V_TABLE), and with the coefficients of
   q(t) = (e^t - 1 - t)/t^2, near-minimax, e^t comes within 5.4e-18 of itself, or 1.2e-17 with a table. */
#define LOG2E 0x1.71547652b82fep0  /* 1.4426950408889634 */
#if V_TABLE == 16
#define LN2_BITS 37
#define LN2_HI 0x1.62e42fefa0000p-1  /* 0.69314718055829871 */
#define LN2_LO 0x1.cf79abc9e3b3ap-40  /* 1.6465949582897082e-12 */
/* 2^(j/16) rounded, as v_raise takes it: less j/16 as it is represented; and its relative rest */
static const real powers[] = {
    0x1.0000000000000p0, 0x1.fb5586cf9890fp-1, 0x1.f72b83c7d517bp-1, 0x1.f387a6e756238p-1,
    0x1.f06fe0a31b715p-1, 0x1.edea64c123422p-1, 0x1.ebfdad5362a27p-1, 0x1.eab07dd485429p-1,
    0x1.ea09e667f3bcdp-1, 0x1.ea11473eb0187p-1, 0x1.eace5422aa0dbp-1, 0x1.ec49182a3f090p-1,
    0x1.ee89f995ad3adp-1, 0x1.f199bdd85529cp-1, 0x1.f5818dcfba487p-1, 0x1.fa4afa2a490dap-1,
};
static const real power_rests[] = {
    0x0.0000000000000p0, 0x1.79aa65d837b6dp-54, -0x1.01b15eaa59348p-55, 0x1.68efde3a8a894p-54,
    0x1.34d754db0abb6p-55, 0x1.59f48a72a4c6dp-55, 0x1.690cebb7aafb0p-56, 0x1.063e1e21c5409p-54,
    -0x1.3b3efbf5e2228p-54, -0x1.b32dcb94da51dp-56, 0x1.db72fc1f0eab4p-55, 0x1.1affc2b91ce27p-56,
    0x1.c1a7792cb3387p-55, 0x1.36eae30af0cb3p-56, 0x1.4a385a63d07a7p-56, -0x1.ff7128fd391f0p-55,
};
static const real exp_c[] = {
    0x1.6c164dc92ee04p-10,   /* 0.001388882157967398 */
    0x1.11123aab2bc08p-7,    /* 0.0083334719150496422 */
    0x1.555555565ca59p-5,    /* 0.041666666674150483 */
    0x1.555555548fcd6p-3,    /* 0.16666666664420998 */
    0x1.0000000000000p-1,    /* 0.5 */
};
#else
#define LN2_BITS 41
#define LN2_HI 0x1.62e42fefa3000p-1  /* 0.69314718055966296 */
#define LN2_LO 0x1.3de6af278ece6p-42  /* 2.8235290563031577e-13 */
static const real exp_c[] = {
    0x1.ad202a5a04f91p-26,   /* 2.497840010530295e-08 */
    0x1.289fd903634f4p-22,   /* 2.7625300466005021e-07 */
    0x1.71df55b506aa9p-19,   /* 2.7557641382296616e-06 */
    0x1.a019aae5aa974p-16,   /* 2.4801508422692004e-05 */
    0x1.a01a011bc47fdp-13,   /* 0.00019841269465153957 */
    0x1.6c16c17cd7851p-10,   /* 0.0013888888926980767 */
    0x1.11111111289cap-7,    /* 0.0083333333335006317 */
    0x1.55555555531cfp-5,    /* 0.041666666666603562 */
    0x1.5555555555501p-3,    /* 0.16666666666666433 */
    0x1.0000000000000p-1,    /* 0.5 */
};
#endif

#endif
