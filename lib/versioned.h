/* Public structures that grow: each begins with its own size.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_VERSIONED_H
#define DMIO_VERSIONED_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Copy *THEIRS, whose first member is its size_t size, to *OURS of OUR_SIZE
 * bytes.  What a program of an older library does not have becomes zero.
 * What a newer one has, and we do not know, must be zero.  Returns false if
 * it is not, or if the size is less than MIN_SIZE.
 */
static inline bool
versioned_copy (void *ours, size_t our_size, size_t min_size,
                const void *theirs)
{
  size_t size, i;

  memcpy (&size, theirs, sizeof size);
  if (size < min_size)
    return false;
  for (i = our_size; i < size; ++i)
    if (((const unsigned char *) theirs)[i] != 0)
      return false;
  memset (ours, 0, our_size);
  memcpy (ours, theirs, size < our_size ? size : our_size);
  return true;
}

#endif /* DMIO_VERSIONED_H */
