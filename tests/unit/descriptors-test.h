/* Descriptors that run out, for unit tests.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Like test-util.h, everything is here and inline; a test uses what it
 * needs.
 */

#ifndef DMIO_DESCRIPTORS_TEST_H
#define DMIO_DESCRIPTORS_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "test-util.h"

#define DESCRIPTORS_MAX 256

static int descriptors_taken[DESCRIPTORS_MAX];
static unsigned descriptors_taken_count;
static struct rlimit descriptors_before;

/* Take all descriptors below LIMIT that are free.  No others are given any
 * more, whatever is closed.
 */
static inline void
descriptors_take (unsigned limit)
{
  struct rlimit now;
  int fd;

  must (limit <= DESCRIPTORS_MAX && descriptors_taken_count == 0);
  must (getrlimit (RLIMIT_NOFILE, &descriptors_before) == 0);
  now = descriptors_before;
  now.rlim_cur = limit;
  must (setrlimit (RLIMIT_NOFILE, &now) == 0);
  while ((fd = open ("/dev/null", O_RDONLY | O_CLOEXEC)) != -1)
    descriptors_taken[descriptors_taken_count++] = fd;
  must (errno == EMFILE);
}

/* From now on none can be had, whatever others close: only the standard ones
 * are below the limit.
 */
static inline void
descriptors_forbid (void)
{
  descriptors_take (3);
}

/* From now on COUNT can be had, and those that others close. */
static inline void
descriptors_leave (unsigned count)
{
  descriptors_take (DESCRIPTORS_MAX);
  while (count-- > 0)
    must (close (descriptors_taken[--descriptors_taken_count]) == 0);
}

static inline void
descriptors_allow (void)
{
  while (descriptors_taken_count > 0)
    must (close (descriptors_taken[--descriptors_taken_count]) == 0);
  must (setrlimit (RLIMIT_NOFILE, &descriptors_before) == 0);
}

#endif /* DMIO_DESCRIPTORS_TEST_H */
