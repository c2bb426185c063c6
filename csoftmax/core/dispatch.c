/* The instruction sets of this build, best first, and the one that runs. Includes block.h. */
#include "block.h"

#include <string.h>

extern const csm_table csm_f32_scalar, csm_f64_scalar;

static int always(void) { return 1; }

#if defined(__x86_64__)
#include <cpuid.h>

extern const csm_table csm_f32_avx2, csm_f64_avx2, csm_f32_avx512, csm_f64_avx512, csm_f32_sse2, csm_f64_sse2;

/* The registers whose contents the system keeps for each thread (XCR0): without that it may run no instruction that
   uses them. In order: XMM, YMM; k0-7, ZMM0-15, ZMM16-31. */
enum { KEEPS_YMM = 0x06, KEEPS_ZMM = 0xe0 };

__attribute__((target("xsave"))) static int keeps(unsigned registers)
{
    return (__builtin_ia32_xgetbv(0) & registers) == registers;
}

/* By CPUID itself: compilers differ in the names that __builtin_cpu_supports knows. leaf_1: ecx, leaf_7: ebx. */
static int has(unsigned leaf_1, unsigned leaf_7, unsigned registers)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf_1) != leaf_1 || !keeps(registers))
        return 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & leaf_7) == leaf_7;
}

static int has_avx2(void)
{
    return has(bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C, bit_AVX2, KEEPS_YMM);
}

static int has_avx512(void)
{
    return has_avx2() && has(bit_OSXSAVE, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD,
                             KEEPS_YMM | KEEPS_ZMM);
}
#elif defined(__AARCH64EL__)
extern const csm_table csm_f32_neon, csm_f64_neon;
#endif

static const struct {
    int (*runs)(void);
    const csm_table *f32, *f64;
} levels[] = {
#if defined(__x86_64__)
    {has_avx512, &csm_f32_avx512, &csm_f64_avx512},
    {has_avx2, &csm_f32_avx2, &csm_f64_avx2},
#ifdef CSM_SSE2
    {always, &csm_f32_sse2, &csm_f64_sse2},
#endif
#elif defined(__AARCH64EL__)
    {always, &csm_f32_neon, &csm_f64_neon},
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
