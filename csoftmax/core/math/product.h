/* The rounding error of a product of doubles, without FMA. */
#ifndef CSM_PRODUCT_H
#define CSM_PRODUCT_H


/* a*b - p for p = a*b, exact: each factor split into halves of 26 bits (Dekker 1971). abs(a), abs(b) < 2^990. */
static inline double product_error(double a, double b, double p)
{
    double s = 0x1p27 + 1, ah = a * s - (a * s - a), bh = b * s - (b * s - b);
    double al = a - ah, bl = b - bh;
    return ah * bh - p + ah * bl + al * bh + al * bl;
}

#endif
