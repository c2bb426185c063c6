/* threads.h for a build without threads: one CPU, on which none starts, so that nobody waits or is woken. */
#ifndef CSM_THREADS_NONE_H
#define CSM_THREADS_NONE_H

#define CSM_THREADING "none"

typedef struct { char none; } csm_mutex, csm_condition;
typedef char csm_thread, csm_cpus, csm_thread_result;
#define CSM_MUTEX {0}
#define CSM_CONDITION {0}
#define CSM_THREAD_CALL

static inline void csm_lock(csm_mutex *m) { (void)m; }
static inline void csm_unlock(csm_mutex *m) { (void)m; }
static inline void csm_wait(csm_condition *c, csm_mutex *m) { (void)c, (void)m; }
static inline void csm_wake_one(csm_condition *c) { (void)c; }
static inline void csm_wake_all(csm_condition *c) { (void)c; }
static inline void csm_yield(void) { }
static inline void csm_on_fork(void (*function)(void)) { (void)function; }

static inline csm_thread csm_this_thread(void) { return 0; }
static inline void csm_other_cpus(csm_cpus *cpus) { *cpus = 0; }
static inline void csm_keep_to(csm_thread thread, const csm_cpus *cpus) { (void)thread, (void)cpus; }
static inline int csm_count_cpus(void) { return 1; }

static inline int csm_start_thread(csm_thread_result (*main)(void *), const csm_cpus *cpus)
{
    (void)main, (void)cpus;
    return 0;
}

#endif
