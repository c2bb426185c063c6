/* The instruction sets of this build, best first, and the one that runs. Includes kernels.h. */
#include "kernels.h"

#include <string.h>

extern const csm_table csm_f32_scalar, csm_f64_scalar;

static int always(void) { return 1; }

#if defined(__x86_64__)
extern const csm_table csm_f32_avx2, csm_f64_avx2, csm_f32_avx512, csm_f64_avx512;

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
           && __builtin_cpu_supports("avx512cd");
}
#endif

static const struct {
    int (*runs)(void);
    const csm_table *f32, *f64;
} levels[] = {
#if defined(__x86_64__)
    {has_avx512, &csm_f32_avx512, &csm_f64_avx512},
    {has_avx2, &csm_f32_avx2, &csm_f64_avx2},
#endif
    {always, &csm_f32_scalar, &csm_f64_scalar},
};

enum { LEVELS = sizeof levels / sizeof *levels };

static int chosen = LEVELS - 1;     /* set once, at import */

int csm_init(const char *isa)
{
    int any = !isa || !*isa;
    for (int i = 0; i < LEVELS; i++)
        if (levels[i].runs() && (any || !strcmp(isa, levels[i].f32->isa))) {
            chosen = i;
            return 0;
        }
    return -1;
}

const char *csm_isa(void) { return levels[chosen].f32->isa; }
const char *csm_isa_built(int i) { return i < LEVELS ? levels[i].f32->isa : NULL; }
int csm_isa_runs(int i) { return levels[i].runs(); }

const char *csm_compiler(void)
{
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

const csm_table *csm_table_of(csm_dtype dtype)
{
    return dtype == CSM_F32 ? levels[chosen].f32 : levels[chosen].f64;
}
