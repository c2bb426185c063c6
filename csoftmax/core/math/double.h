/* Powers of two, exponentials and logarithms of doubles, without libm, whose results differ from system to system. */
#ifndef CSM_DOUBLE_H
#define CSM_DOUBLE_H

#include <stdint.h>
#include <string.h>

/* ln2 as a number of 37 bits, whose products with whole numbers of 16 are exact, and the rest. */
#define LN2_37 0x1.62e42fefa0000p-1     /* 0.6931471805582987 */
#define LN2_REST 0x1.cf79abc9e3b3ap-40  /* 1.6465949582897082e-12 */

/* The n of a = f 2^n, f in [1/2, 1); -1022 of 0 and of subnormal numbers. */
static inline int exponent_of(double a)
{
    uint64_t u;
    memcpy(&u, &a, sizeof u);
    return (int)(u >> 52 & 0x7ff) - 1022;
}

/* 2^k, abs(k) <= 1022. */
static inline double power_of(int k)
{
    const uint64_t u = (uint64_t)(1023 + k) << 52;
    double a;
    memcpy(&a, &u, sizeof a);
    return a;
}

/* log m = 2 atanh(s), s = (m - 1)/(m + 1), of m in [sqrt(1/2), sqrt(2)]. */
static inline double log_near_1(double m)
{
    const double s = (m - 1) / (m + 1), z = s * s;
    double sum = 0;
    for (int k = 25; k > 1; k -= 2)
        sum = (sum + 1.0 / k) * z;
    return 2 * (s + s * sum);
}

/* e^(t + rest), abs(t) <= 0.35, by its series. */
static inline double exp_near_0(double t, double rest)
{
    double sum = 1;
    for (int k = 15; k > 1; k--)
        sum = 1 + t / k * sum;
    const double above = t * sum;
    return 1 + (above + rest * (1 + above));
}

#endif
