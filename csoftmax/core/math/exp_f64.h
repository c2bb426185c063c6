/* What math/exp.h needs to know of float64: ranges, constants, coefficients. Includes nothing;
   needs a vector header before it. */

#define EXP_NEAR 1490        /* up to this abs(max/T) the shift is an integer: exp takes the max off itself  */
#define EXP_LIFT 564         /* exponentials come out up to this many powers of two above e^((x - max)/T)    */
#define EXP_BIAS 1023        /* of exponent bits                                                             */
#define EXP_MAGIC 0x1.8p52   /* a number of this size has no fraction bits                                     */
#define T_POWERS 1000        /* powers of two by which T is brought near 1                                     */
#define T_MAX INFINITY       /* any T                                                                         */

/* tools/coefficients.py prints what follows. LN2_HI has LN2_BITS bits, so that n * LN2_HI is exact for the multiples n
   of 1/V_TABLE, of 12 bits before the point, that occur. Then abs(t) <= ln2/(2 V_TABLE), and with the coefficients of
   q(t) = (e^t - 1 - t)/t^2, near-minimax, e^t comes within 5.4e-18 of itself, or 1.2e-17 with a table. */
#define LOG2E 0x1.71547652b82fep0  /* 1.4426950408889634 */
#if V_TABLE == 16
#define EXP_ZERO -1077       /* 2^this (1 + t + ...) rounds to 0 */
#define LN2_BITS 37
#define LN2_HI 0x1.62e42fefa0000p-1  /* 0.69314718055829871 */
#define LN2_LO 0x1.cf79abc9e3b3ap-40  /* 1.6465949582897082e-12 */
/* 2^(j/16), and what it lacks of that */
static const real powers[] = {
    0x1.0000000000000p0, 0x1.0b5586cf9890fp0, 0x1.172b83c7d517bp0, 0x1.2387a6e756238p0,
    0x1.306fe0a31b715p0, 0x1.3dea64c123422p0, 0x1.4bfdad5362a27p0, 0x1.5ab07dd485429p0,
    0x1.6a09e667f3bcdp0, 0x1.7a11473eb0187p0, 0x1.8ace5422aa0dbp0, 0x1.9c49182a3f090p0,
    0x1.ae89f995ad3adp0, 0x1.c199bdd85529cp0, 0x1.d5818dcfba487p0, 0x1.ea4afa2a490dap0,
};
static const real power_rests[] = {
    0x0.0000000000000p0, 0x1.8a62e4adc610bp-54, -0x1.19041b9d78a76p-55, 0x1.9b07eb6c70573p-54,
    0x1.6f46ad23182e4p-55, 0x1.ada0911f09ebcp-55, 0x1.d4397afec42e2p-56, 0x1.6324c054647adp-54,
    -0x1.bdd3413b26456p-54, -0x1.41577ee04992fp-55, 0x1.6e9f156864b27p-54, 0x1.c7c46b071f2bep-56,
    0x1.7a1cd345dcc81p-54, 0x1.11065895048ddp-55, 0x1.2ed02d75b3707p-55, -0x1.e9c23179c2893p-54,
};
static const real exp_c[] = {
    0x1.6c164dc92ee04p-10,   /* 0.001388882157967398 */
    0x1.11123aab2bc08p-7,    /* 0.0083334719150496422 */
    0x1.555555565ca59p-5,    /* 0.041666666674150483 */
    0x1.555555548fcd6p-3,    /* 0.16666666664420998 */
    0x1.0000000000000p-1,    /* 0.5 */
};
#else
#define EXP_ZERO -1023       /* 2^this has the exponent bits of 0 */
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
