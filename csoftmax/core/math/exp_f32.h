/* What math/exp.h needs to know of float32: ranges, constants, coefficients.

   Worst error of v_exp over every float32 of its domain, T = 1: see tests/values/test_accuracy.py. */
#ifndef CSM_EXP_F32_H
#define CSM_EXP_F32_H

#include "../vec/vec.h"

#define EXP_NEAR 208         /* up to this abs(max/T) the shift is an integer: exp takes the max off itself  */
#define EXP_UPSCALE 64          /* exponentials come out this many powers of two above e^((x - max)/T), ...       */
#define EXP_MAX_UPSCALE 100    /* ... and up to this many where what is computed from them is scaled up          */
#define EXP_BIAS 127         /* of exponent bits; those of 2^-EXP_BIAS are 0                                   */
#define EXP_LEAST -125       /* exponentials that would be less than 2^EXP_LEAST are 0                         */
#define EXP_MAGIC 0x1.8p23f  /* a number of this size has no fraction bits                                     */
#define TINY 0x1p-60f         /* a reduced logit below this changes no exponential                              */
#define NEAR_TINY 0x1p-40f   /* beside this the rounding errors of tiny numbers are normal numbers              */
#define RANGE_BITS 126       /* the least normal number is 2^-RANGE_BITS, ...                                  */
#define FRACTION_BITS 23     /* ... and subnormal numbers are multiples of 2^-(RANGE_BITS + FRACTION_BITS)     */
#define MOST_SCALE 0x1p150   /* of a gradient: times an exponential of 0 it is 0                                */
#define T_POWERS 120         /* powers of two by which T is brought near 1                                     */
#define T_MAX 0x1p220        /* from here on x/T is below 2^-92 and every exponential 1                       */

/* tools/coefficients.py prints what follows. LN2_HI has LN2_BITS bits, so that n * LN2_HI is exact for the multiples n
   of 1/V_TABLE, of 10 bits before the point, that occur. Then abs(t) <= ln2/(2 V_TABLE), and with the coefficients of
   q(t) = (e^t - 1 - t)/t^2, near-minimax, e^t comes within 3.7e-9 of itself, or 9.3e-9 with a table. */
#define LOG2E 0x1.715476p0f  /* 1.44269502 */
#if V_TABLE == 16
#define LN2_BITS 10
#define LN2_HI 0x1.628000p-1f  /* 0.692382812 */
#define LN2_LO 0x1.90bfbep-11f  /* 0.000764368044 */
/* 2^(j/16) rounded, as v_raise takes it: less j/16 as it is represented; and its relative rest */
static const real powers[] = {
    0x1.000000p0f, 0x1.fb5586p-1f, 0x1.f72b84p-1f, 0x1.f387a6p-1f, 0x1.f06fe0p-1f, 0x1.edea64p-1f,
    0x1.ebfdaep-1f, 0x1.eab07ep-1f, 0x1.ea09e6p-1f, 0x1.ea1148p-1f, 0x1.eace54p-1f, 0x1.ec4918p-1f,
    0x1.ee89fap-1f, 0x1.f199bep-1f, 0x1.f5818ep-1f, 0x1.fa4afap-1f,
};
static const real power_rests[] = {
    0x0.000000p0f, 0x1.8d96d4p-25f, -0x1.9c0c22p-27f, 0x1.964904p-25f, 0x1.125002p-25f, 0x1.370be4p-25f,
    -0x1.0a3550p-25f, -0x1.00d8acp-27f, 0x1.26055cp-26f, -0x1.05cb44p-25f, 0x1.67a1cap-28f, 0x1.a3b5e4p-28f,
    -0x1.f9c304p-27f, -0x1.6961b4p-28f, -0x1.a5217cp-28f, 0x1.61428ep-28f,
};
static const real exp_c[] = {
    0x1.554d1ep-3f,          /* 0.166650996 */
    0x1.000000p-1f,          /* 0.5 */
};
#else
#define LN2_BITS 14
#define LN2_HI 0x1.62e000p-1f  /* 0.693115234 */
#define LN2_LO 0x1.0bfbe8p-15f  /* 3.19461833e-05 */
static const real exp_c[] = {
    0x1.6b7950p-10f,         /* 0.0013865428 */
    0x1.12305cp-7f,          /* 0.00836758129 */
    0x1.55567ep-5f,          /* 0.0416672193 */
    0x1.5554a2p-3f,          /* 0.166665331 */
    0x1.000000p-1f,          /* 0.5 */
};
#endif

#endif
