/* A place in the memory of a dm-io request, whatever its type.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "bits.h"
#include "dm-io-cursor.h"
#include "sector.h"

/* Bytes at the cursor, and their address; 0 bytes: the memory ends. */
static size_t
cursor_peek (const struct cursor *c, size_t wanted, char **address)
{
  switch (c->type) {
  case MEMORY_PAGES:
    if (c->at.pages == NULL)
      return 0;
    *address = (char *) page_address (c->at.pages->page) + c->offset;
    return MIN_OF (wanted, DM_PAGE_SIZE - c->offset);
  case MEMORY_VECTOR:
    if (c->at.bvec->bv_page == NULL)
      return 0;
    *address = (char *) page_address (c->at.bvec->bv_page) +
               c->at.bvec->bv_offset + c->offset;
    return MIN_OF (wanted, c->at.bvec->bv_len - c->offset);
  case MEMORY_PLAIN:
    *address = c->at.plain + c->offset;
    return wanted;
  case MEMORY_NONE:
    break;
  }
  return 0;
}

static void
cursor_advance (struct cursor *c, size_t bytes)
{
  c->offset += bytes;
  if (c->type == MEMORY_PAGES && c->offset == DM_PAGE_SIZE) {
    c->at.pages = c->at.pages->next;
    c->offset = 0;
  }
}

/* Step over elements of a vector that are used up, or empty. */
static void
cursor_skip_empty (struct cursor *c)
{
  while (c->type == MEMORY_VECTOR && c->at.bvec->bv_page != NULL &&
         c->offset == c->at.bvec->bv_len) {
    c->at.bvec++;
    c->offset = 0;
  }
}

/* Describe up to BYTES at the cursor by IOV and step over them.  Pieces
 * next to each other in memory become one.  Returns the bytes described.
 */
static size_t
cursor_fill (struct cursor *c, size_t bytes, struct iovec *iov, int *iovcnt)
{
  size_t done = 0;
  int n = 0;

  while (done < bytes) {
    char *address;
    size_t len;

    cursor_skip_empty (c);
    len = cursor_peek (c, bytes - done, &address);
    if (len == 0)
      break;
    if (n > 0 && (char *) iov[n - 1].iov_base + iov[n - 1].iov_len == address)
      iov[n - 1].iov_len += len;
    else if (n == CURSOR_IOVECS)
      break;
    else
      iov[n++] = (struct iovec){ .iov_base = address, .iov_len = len };
    cursor_advance (c, len);
    done += len;
  }
  *iovcnt = n;
  return done;
}

/* A vector may be cut anywhere; a device takes whole sectors. */
size_t
cursor_fill_sectors (struct cursor *c, uint64_t bytes, struct iovec *iov,
                     int *iovcnt)
{
  struct cursor start = *c;
  size_t want = (size_t) MIN_OF (bytes, (uint64_t) SIZE_MAX / 2);
  size_t got = cursor_fill (c, want, iov, iovcnt);

  if (got % SECTOR_SIZE == 0)
    return got;
  *c = start;
  return cursor_fill (c, round_down_to (got, SECTOR_SIZE), iov, iovcnt);
}

int
cursor_copy_sector (struct cursor *c, char *buffer, bool to_buffer)
{
  size_t done = 0;

  while (done < SECTOR_SIZE) {
    char *address;
    size_t len;

    cursor_skip_empty (c);
    len = cursor_peek (c, SECTOR_SIZE - done, &address);
    if (len == 0)
      return -EINVAL;
    if (to_buffer)
      memcpy (buffer + done, address, len);
    else
      memcpy (address, buffer + done, len);
    cursor_advance (c, len);
    done += len;
  }
  return 0;
}

void
cursor_zero (struct cursor memory, uint64_t bytes)
{
  while (bytes > 0) {
    char *address;
    size_t len;

    cursor_skip_empty (&memory);
    len = cursor_peek (&memory,
                       (size_t) MIN_OF (bytes, (uint64_t) SIZE_MAX / 2),
                       &address);
    if (len == 0)
      return;
    memset (address, 0, len);
    cursor_advance (&memory, len);
    bytes -= len;
  }
}
