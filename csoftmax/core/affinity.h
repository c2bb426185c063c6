/* On which cores a thread may run, where the system lets us say so: Linux. It asks the system's
   headers for more than C11, so it comes first. */
#ifndef CSM_CORES_H
#define CSM_CORES_H

#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>

typedef cpu_set_t csm_cores;

/* Those that the calling thread may use, but the one it is on, unless there is no other. None: it is not known. */
static inline void csm_other_cores(csm_cores *cores)
{
    const int here = sched_getcpu();
    if (sched_getaffinity(0, sizeof *cores, cores) || here < 0)
        CPU_ZERO(cores);
    else if (CPU_COUNT(cores) > 1)
        CPU_CLR((size_t)here, cores);
}

static inline void csm_keep_to(pthread_t thread, const csm_cores *cores)
{
    if (CPU_COUNT(cores))
        pthread_setaffinity_np(thread, sizeof *cores, cores);
}

#else
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include <pthread.h>

typedef char csm_cores;

static inline void csm_other_cores(csm_cores *cores) { *cores = 0; }
static inline void csm_keep_to(pthread_t thread, const csm_cores *cores) { (void)thread, (void)cores; }

#endif
#endif
