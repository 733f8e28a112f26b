/* A place in the memory of a dm-io request, whatever its type.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_DM_IO_CURSOR_H
#define DMIO_DM_IO_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "dm-io-memory.h"

enum memory_type {
  MEMORY_NONE, /* operations without data */
  MEMORY_PAGES,
  MEMORY_VECTOR,
  MEMORY_PLAIN,
};

/* Copied to come back to the same place. */
struct cursor {
  enum memory_type type;
  union {
    struct page_list *pages;
    struct bio_vec *bvec;
    char *plain;
  } at;
  size_t offset; /* inside the current page or element */
};

/* At most so many pieces go into one call of a device. */
#define CURSOR_IOVECS 128

/* Describe up to BYTES at the cursor, in whole sectors, by IOV of
 * CURSOR_IOVECS elements, and step over them.  Pieces next to each other in
 * memory become one.  Returns the bytes described; 0 if less than a sector
 * can be described at once, because it is in too many pieces or because the
 * memory ends.
 */
size_t cursor_fill_sectors (struct cursor *c, uint64_t bytes, struct iovec *iov,
                            int *iovcnt);

/* Copy a sector between BUFFER and the cursor, and step over it.  Returns
 * -EINVAL if the memory ends before.
 */
int cursor_copy_sector (struct cursor *c, char *buffer, bool to_buffer);

/* Fill BYTES with zeroes, or as many as there are. */
void cursor_zero (struct cursor memory, uint64_t bytes);

#endif /* DMIO_DM_IO_CURSOR_H */
