/* Aligned memory for the time of one transfer, which never fails to be had.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "bounce.h"

int
bounce_init (struct bounce *bounce, size_t reserve_bytes)
{
  if (posix_memalign (&bounce->reserve, BOUNCE_ALIGN, reserve_bytes) != 0)
    return -ENOMEM;
  /* The kernel gives pages when they are touched: that must be now. */
  memset (bounce->reserve, 0, reserve_bytes);
  bounce->reserve_bytes = reserve_bytes;
  mutex_init (&bounce->lock);
  return 0;
}

void
bounce_destroy (struct bounce *bounce)
{
  mutex_destroy (&bounce->lock);
  free (bounce->reserve);
}

void *
bounce_get (struct bounce *bounce, size_t *bytes)
{
  void *memory;

  if (posix_memalign (&memory, BOUNCE_ALIGN, *bytes) == 0)
    return memory;
  mutex_lock (&bounce->lock);
  *bytes = MIN_OF (*bytes, bounce->reserve_bytes);
  return bounce->reserve;
}

void
bounce_put (struct bounce *bounce, void *memory)
{
  if (memory == bounce->reserve)
    mutex_unlock (&bounce->lock);
  else
    free (memory);
}
