/* threads.h for Windows, which is left to choose where a thread runs. */
#ifndef CSM_THREADS_WINDOWS_H
#define CSM_THREADS_WINDOWS_H

#include "tuning.h"

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#define CSM_THREADING "windows"

typedef SRWLOCK csm_mutex;
typedef CONDITION_VARIABLE csm_condition;
#define CSM_MUTEX SRWLOCK_INIT
#define CSM_CONDITION CONDITION_VARIABLE_INIT

static inline void csm_lock(csm_mutex *m) { AcquireSRWLockExclusive(m); }
static inline void csm_unlock(csm_mutex *m) { ReleaseSRWLockExclusive(m); }
static inline void csm_wait(csm_condition *c, csm_mutex *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static inline void csm_wake_one(csm_condition *c) { WakeConditionVariable(c); }
static inline void csm_wake_all(csm_condition *c) { WakeAllConditionVariable(c); }
static inline void csm_yield(void) { SwitchToThread(); }
static inline void csm_on_fork(void (*function)(void)) { (void)function; }

typedef char csm_thread, csm_cpus;
static inline csm_thread csm_this_thread(void) { return 0; }
static inline void csm_other_cpus(csm_cpus *cpus) { *cpus = 0; }
static inline void csm_keep_to(csm_thread thread, const csm_cpus *cpus) { (void)thread, (void)cpus; }

/* The mask is 0 where a process has threads in several groups of 64 CPUs. */
static inline int csm_count_cpus(void)
{
    DWORD_PTR mask = 0, all;
    int count = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mask, &all) || !mask)
        return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    for (; mask; mask &= mask - 1)
        count++;
    return count;
}

typedef DWORD csm_thread_result;
#define CSM_THREAD_CALL WINAPI

static inline int csm_start_thread(LPTHREAD_START_ROUTINE main, const csm_cpus *cpus)
{
    HANDLE thread = CreateThread(NULL, CSM_WORKER_STACK, main, NULL, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    (void)cpus;
    if (thread)
        CloseHandle(thread);
    return thread != NULL;
}

#endif
