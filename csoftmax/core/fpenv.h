/* The floating-point control word: kernels run in the default one (round to nearest, subnormals kept, no traps)
   whatever the process has set, and leave everything as it was. */
#ifndef CSM_FPENV_H
#define CSM_FPENV_H

#if defined(__x86_64__)

typedef unsigned csm_fpenv;
#define CSM_FPENV_DEFAULT 0x1f80u
#define CSM_FPENV_FLAGS 0x3fu           /* what has happened so far; they change nothing */

/* Loading the word waits for all that is under way, so it is loaded only where that changes something. */
static inline csm_fpenv csm_fpenv_enter(void)
{
    csm_fpenv saved = __builtin_ia32_stmxcsr();
    if ((saved & ~CSM_FPENV_FLAGS) != CSM_FPENV_DEFAULT)
        __builtin_ia32_ldmxcsr(CSM_FPENV_DEFAULT);
    return saved;
}

/* Set by tests, which read the flags that a call has raised. */
extern int csm_fpenv_keeps_flags;

/* Restores the flags too: a call leaves no trace of its own roundings. */
static inline void csm_fpenv_leave(csm_fpenv saved)
{
    if (__builtin_ia32_stmxcsr() != saved && !csm_fpenv_keeps_flags)
        __builtin_ia32_ldmxcsr(saved);
}

#elif defined(__aarch64__)

typedef unsigned long long csm_fpenv;      /* a register: Windows has a shorter long */

static inline csm_fpenv csm_fpenv_enter(void)
{
    csm_fpenv saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    if (saved)
        __asm__ volatile("msr fpcr, %0" : : "r"(0ull));
    return saved;
}

static inline void csm_fpenv_leave(csm_fpenv saved)
{
    if (saved)
        __asm__ volatile("msr fpcr, %0" : : "r"(saved));
}

#else

#include <fenv.h>
typedef fenv_t csm_fpenv;

static inline csm_fpenv csm_fpenv_enter(void)
{
    fenv_t saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    return saved;
}

static inline void csm_fpenv_leave(csm_fpenv saved) { fesetenv(&saved); }

#endif
#endif
