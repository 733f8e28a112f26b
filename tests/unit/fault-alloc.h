/* Makes the k-th allocation of a test program fail.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A program that uses this must be linked with FAULT_ALLOC_FLAGS of
 * tests/Makefile.inc, which leads malloc, calloc, realloc,
 * posix_memalign, strdup and pthread_create here.  Calls inside shared
 * libraries are not led here.
 *
 * All functions are thread-safe; what is armed concerns all threads.
 */

#ifndef DMIO_FAULT_ALLOC_H
#define DMIO_FAULT_ALLOC_H

#include <stdbool.h>

/* What can fail. */
#define FAULT_ALLOC_MEMORY (1U << 0)  /* NULL, or ENOMEM */
#define FAULT_ALLOC_THREADS (1U << 1) /* pthread_create: EAGAIN */

/* From now on the calls of KINDS are counted from 0; call K fails, or
 * call K and all later ones.
 */
void fault_alloc_fail_once (unsigned kinds, unsigned k);
void fault_alloc_fail_from (unsigned kinds, unsigned k);

/* No more failures.  Returns how many calls have failed. */
unsigned fault_alloc_stop (void);

#endif /* DMIO_FAULT_ALLOC_H */
