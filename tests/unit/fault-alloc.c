/* Makes the k-th allocation of a test program fail.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fault-alloc.h"

/* The linker gives these names to the calls (--wrap). */
void *__real_malloc (size_t size);
void *__real_calloc (size_t count, size_t size);
void *__real_realloc (void *memory, size_t size);
int __real_posix_memalign (void **memory, size_t align, size_t size);
char *__real_strdup (const char *s);
int __real_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                           void *(*fn) (void *), void *arg);
void *__wrap_malloc (size_t size);
void *__wrap_calloc (size_t count, size_t size);
void *__wrap_realloc (void *memory, size_t size);
int __wrap_posix_memalign (void **memory, size_t align, size_t size);
char *__wrap_strdup (const char *s);
int __wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                           void *(*fn) (void *), void *arg);

static atomic_uint armed_kinds;
static atomic_uint calls;
static atomic_uint failures;
static atomic_uint first;
static atomic_bool is_for_ever;

static void
arm (unsigned kinds, unsigned k, bool for_ever)
{
  atomic_store (&armed_kinds, 0);
  atomic_store (&calls, 0);
  atomic_store (&failures, 0);
  atomic_store (&first, k);
  atomic_store (&is_for_ever, for_ever);
  atomic_store (&armed_kinds, kinds);
}

void
fault_alloc_fail_once (unsigned kinds, unsigned k)
{
  arm (kinds, k, false);
}

void
fault_alloc_fail_from (unsigned kinds, unsigned k)
{
  arm (kinds, k, true);
}

unsigned
fault_alloc_stop (void)
{
  atomic_store (&armed_kinds, 0);
  return atomic_load (&failures);
}

static bool
must_fail (unsigned kind)
{
  unsigned n, k;

  if (!(atomic_load (&armed_kinds) & kind))
    return false;
  n = atomic_fetch_add (&calls, 1);
  k = atomic_load (&first);
  if (n != k && !(n > k && atomic_load (&is_for_ever)))
    return false;
  atomic_fetch_add (&failures, 1);
  return true;
}

static bool
no_memory (void)
{
  if (!must_fail (FAULT_ALLOC_MEMORY))
    return false;
  errno = ENOMEM;
  return true;
}

void *
__wrap_malloc (size_t size)
{
  return no_memory () ? NULL : __real_malloc (size);
}

void *
__wrap_calloc (size_t count, size_t size)
{
  return no_memory () ? NULL : __real_calloc (count, size);
}

void *
__wrap_realloc (void *memory, size_t size)
{
  return no_memory () ? NULL : __real_realloc (memory, size);
}

int
__wrap_posix_memalign (void **memory, size_t align, size_t size)
{
  return no_memory () ? ENOMEM : __real_posix_memalign (memory, align, size);
}

char *
__wrap_strdup (const char *s)
{
  return no_memory () ? NULL : __real_strdup (s);
}

int
__wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                       void *(*fn) (void *), void *arg)
{
  if (must_fail (FAULT_ALLOC_THREADS))
    return EAGAIN;
  return __real_pthread_create (thread, attr, fn, arg);
}
