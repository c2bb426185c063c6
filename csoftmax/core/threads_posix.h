/* threads.h for POSIX systems; where a thread may run is known and set on Linux alone. */
#ifndef CSM_THREADS_POSIX_H
#define CSM_THREADS_POSIX_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif

#include "tuning.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#define CSM_THREADING "pthreads"

typedef pthread_mutex_t csm_mutex;
typedef pthread_cond_t csm_condition;
#define CSM_MUTEX PTHREAD_MUTEX_INITIALIZER
#define CSM_CONDITION PTHREAD_COND_INITIALIZER

static inline void csm_lock(csm_mutex *m) { pthread_mutex_lock(m); }
static inline void csm_unlock(csm_mutex *m) { pthread_mutex_unlock(m); }
static inline void csm_wait(csm_condition *c, csm_mutex *m) { pthread_cond_wait(c, m); }
static inline void csm_wake_one(csm_condition *c) { pthread_cond_signal(c); }
static inline void csm_wake_all(csm_condition *c) { pthread_cond_broadcast(c); }
static inline void csm_yield(void) { sched_yield(); }
static inline void csm_on_fork(void (*function)(void)) { pthread_atfork(NULL, NULL, function); }

typedef pthread_t csm_thread;
static inline csm_thread csm_this_thread(void) { return pthread_self(); }

#ifdef __linux__

typedef cpu_set_t csm_cpus;

static inline void csm_other_cpus(csm_cpus *cpus)
{
    const int here = sched_getcpu();
    if (sched_getaffinity(0, sizeof *cpus, cpus) || here < 0)
        CPU_ZERO(cpus);
    else if (CPU_COUNT(cpus) > 1)
        CPU_CLR((size_t)here, cpus);
}

static inline void csm_keep_to(csm_thread thread, const csm_cpus *cpus)
{
    if (CPU_COUNT(cpus))
        pthread_setaffinity_np(thread, sizeof *cpus, cpus);
}

/* Where a cpu_set_t is too short for the machine, it fails: then those that are there count. */
static inline int csm_affinity(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) ? 0 : CPU_COUNT(&cpus);
}

#else

typedef char csm_cpus;
static inline void csm_other_cpus(csm_cpus *cpus) { *cpus = 0; }
static inline void csm_keep_to(csm_thread thread, const csm_cpus *cpus) { (void)thread, (void)cpus; }
static inline int csm_affinity(void) { return 0; }

#endif

static inline int csm_count_cpus(void)
{
    const int count = csm_affinity();
    const long online = count ? count : sysconf(_SC_NPROCESSORS_ONLN);
    return online > 1 ? (int)online : 1;
}

typedef void *csm_thread_result;
#define CSM_THREAD_CALL

/* Signals are for other threads. */
static inline int csm_start_thread(csm_thread_result (*main)(void *), const csm_cpus *cpus)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, CSM_WORKER_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int started = !pthread_create(&thread, &attributes, main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (started)
        csm_keep_to(thread, cpus);
    return started;
}

#endif
