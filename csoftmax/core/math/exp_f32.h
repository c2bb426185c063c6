/* What math/exp.h needs to know of float32: ranges, constants, coefficients. Includes nothing;
   needs a vector header before it.

   Worst error of v_exp over every float32 of its domain, T = 1: see tests/test_accuracy.py. */

#define EXP_NEAR 208         /* up to this abs(max/T) the shift is an integer: exp takes the max off itself  */
#define EXP_LIFT 88          /* exponentials come out up to this many powers of two above e^((x - max)/T)    */
#define EXP_BIAS 127         /* of exponent bits                                                             */
#define EXP_MAGIC 0x1.8p23f  /* a number of this size has no fraction bits                                     */
#define T_POWERS 120         /* powers of two by which T is brought near 1                                     */
#define T_MAX 0x1p220        /* from here on x/T is below 2^-92 and every exponential 1                       */

/* tools/coefficients.py prints what follows. LN2_HI has LN2_BITS bits, so that n * LN2_HI is exact for the multiples n
   of 1/V_TABLE, of 10 bits before the point, that occur. Then abs(t) <= ln2/(2 V_TABLE), and with the coefficients of
   q(t) = (e^t - 1 - t)/t^2, near-minimax, e^t comes within 3.7e-9 of itself, or 9.3e-9 with a table. */
#define LOG2E 0x1.715476p0f  /* 1.44269502 */
#if V_TABLE == 16
#define EXP_ZERO -152        /* 2^this (1 + t + ...) rounds to 0 */
#define LN2_BITS 10
#define LN2_HI 0x1.628000p-1f  /* 0.692382812 */
#define LN2_LO 0x1.90bfbep-11f  /* 0.000764368044 */
/* 2^(j/16), and what it lacks of that */
static const real powers[] = {
    0x1.000000p0f, 0x1.0b5586p0f, 0x1.172b84p0f, 0x1.2387a6p0f, 0x1.306fe0p0f, 0x1.3dea64p0f,
    0x1.4bfdaep0f, 0x1.5ab07ep0f, 0x1.6a09e6p0f, 0x1.7a1148p0f, 0x1.8ace54p0f, 0x1.9c4918p0f,
    0x1.ae89fap0f, 0x1.c199bep0f, 0x1.d5818ep0f, 0x1.ea4afap0f,
};
static const real power_rests[] = {
    0x0.000000p0f, 0x1.9f3122p-25f, -0x1.c15742p-27f, 0x1.ceac48p-25f, 0x1.4636e2p-25f, 0x1.824684p-25f,
    -0x1.593abcp-25f, -0x1.5bd5ecp-27f, 0x1.9fcef4p-26f, -0x1.829fd0p-25f, 0x1.15506ep-27f, 0x1.51f848p-27f,
    -0x1.a94b14p-26f, -0x1.3d56b2p-27f, -0x1.822dbcp-27f, 0x1.52486cp-27f,
};
static const real exp_c[] = {
    0x1.554d1ep-3f,          /* 0.166650996 */
    0x1.000000p-1f,          /* 0.5 */
};
#else
#define EXP_ZERO -127        /* 2^this has the exponent bits of 0 */
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
