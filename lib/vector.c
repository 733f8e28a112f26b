/* Memory in pieces: what devices do with an iovec.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdint.h>
#include <string.h>

#include "bits.h"
#include "vector.h"

size_t
vector_bytes (const struct iovec *iov, int iovcnt)
{
  size_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes;
}

bool
vector_is_aligned (const struct iovec *iov, int iovcnt, size_t memory_align,
                   size_t length_align)
{
  int i;

  for (i = 0; i < iovcnt; ++i)
    if ((uintptr_t) iov[i].iov_base % memory_align != 0 ||
        iov[i].iov_len % length_align != 0)
      return false;
  return true;
}

void
vector_gather (const struct iovec *iov, int iovcnt, size_t skip, void *buffer,
               size_t len)
{
  char *to = buffer;
  int i;

  for (i = 0; i < iovcnt && len > 0; ++i) {
    size_t n;

    if (skip >= iov[i].iov_len) {
      skip -= iov[i].iov_len;
      continue;
    }
    n = MIN_OF (iov[i].iov_len - skip, len);
    memcpy (to, (const char *) iov[i].iov_base + skip, n);
    skip = 0;
    to += n;
    len -= n;
  }
}

void
vector_scatter (const struct iovec *iov, int iovcnt, size_t skip,
                const void *buffer, size_t len)
{
  const char *from = buffer;
  int i;

  for (i = 0; i < iovcnt && len > 0; ++i) {
    size_t n;

    if (skip >= iov[i].iov_len) {
      skip -= iov[i].iov_len;
      continue;
    }
    n = MIN_OF (iov[i].iov_len - skip, len);
    memcpy ((char *) iov[i].iov_base + skip, from, n);
    skip = 0;
    from += n;
    len -= n;
  }
}

int
vector_slice (const struct iovec *iov, int iovcnt, size_t skip, size_t len,
              struct iovec *slice)
{
  int i, count = 0;

  for (i = 0; i < iovcnt && len > 0; ++i) {
    size_t n;

    if (skip >= iov[i].iov_len) {
      skip -= iov[i].iov_len;
      continue;
    }
    n = MIN_OF (iov[i].iov_len - skip, len);
    slice[count].iov_base = (char *) iov[i].iov_base + skip;
    slice[count++].iov_len = n;
    skip = 0;
    len -= n;
  }
  return count;
}
