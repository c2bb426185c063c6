/* Threads, locks, CPUs and forks as pool.c and thread_count.c use them: one of three bodies, for POSIX, for Windows, or
   for a build without threads (CSM_NO_THREADS). It asks the system's headers for more than C11, so it comes first.

   Each defines:
   CSM_THREADING                        its name
   csm_mutex, CSM_MUTEX                 a lock, and what it begins as; csm_lock, csm_unlock
   csm_condition, CSM_CONDITION         likewise; csm_wait lets go of the lock meanwhile; csm_wake_one, csm_wake_all
   csm_yield()                          lets another thread have the CPU, if one waits for it
   csm_cpus, csm_other_cpus(cpus)       those that the caller may use, but the one it is on, unless there is no other
   csm_thread, csm_this_thread()        a thread whose CPUs can be set
   csm_keep_to(thread, cpus)            may run there; does nothing if none are known
   csm_start_thread(main, cpus)         1, or 0 if the system gives no thread. It takes no signals, and never ends
   csm_thread_result, CSM_THREAD_CALL   of `main`: static csm_thread_result CSM_THREAD_CALL main(void *nothing)
   csm_count_cpus()                     those that the calling thread may use
   csm_on_fork(function)                calls it in each forked child */
#ifndef CSM_THREADS_H
#define CSM_THREADS_H

#if defined(CSM_NO_THREADS)
#include "threads_none.h"
#elif defined(_WIN32)
#include "threads_windows.h"
#else
#include "threads_posix.h"
#endif

#endif
