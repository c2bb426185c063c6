/* The worst error of one instance's exponential, in ULP, over numbers spread evenly between -80 and 0. From the project's
   root, with gcc (it has float128), on a CPU that runs the instance:

     cc -O2 -march=native -std=gnu11 -ffp-contract=off -fno-math-errno -fno-trapping-math \
        -DINSTANCE='"../csoftmax/core/isa/avx512_f32.c"' bench/exponential.c -lquadmath -lm -o /tmp/exponential && \
        /tmp/exponential */
#include INSTANCE

#include <quadmath.h>
#include <stdio.h>

int main(void)
{
    const int is_float = sizeof(real) == sizeof(float);
    const uint64_t vectors = (uint64_t)1 << (is_float ? 24 : 21), mask40 = ((uint64_t)1 << 40) - 1;
    const temp_consts t = temp_consts_of(1);
    const shift s = shift_of(v_set(0), v_set(0), &t, 1);
    double worst = 0, at = 0;
    for (uint64_t i = 0; i < vectors; i++) {
        real x[V_LANES], e[V_LANES];
        for (int k = 0; k < V_LANES; k++)
            x[k] = (real)(-80 * (double)((i * V_LANES + (uint64_t)k) * 2654435761u & mask40) * 0x1p-40);
        v_put(e, v_exp(v_get(x), &s, &t, 1));
        for (int k = 0; k < V_LANES; k++) {
            const __float128 truth = is_float ? (__float128)expl(x[k]) : expq(x[k]);
            int exponent;
            frexpq(truth, &exponent);
            const double error = (double)fabsq((e[k] - truth) / ldexpq(1, exponent - (is_float ? 24 : 53)));
            if (error > worst) {
                worst = error;
                at = x[k];
            }
        }
    }
    printf("%s: %.2f ULP at %.17g\n", CSM_ISA, worst, at);
    return 0;
}
