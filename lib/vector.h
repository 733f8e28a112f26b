/* Memory in pieces: what devices do with an iovec.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Offsets into a vector are in bytes and inside it.
 */

#ifndef DMIO_VECTOR_H
#define DMIO_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* All bytes together; the caller knows that they do not wrap. */
size_t vector_bytes (const struct iovec *iov, int iovcnt);

/* True if all addresses are multiples of MEMORY_ALIGN, and all lengths of
 * LENGTH_ALIGN; both are powers of two.
 */
bool vector_is_aligned (const struct iovec *iov, int iovcnt,
                        size_t memory_align, size_t length_align);

/* Copy LEN bytes from byte SKIP on into BUFFER, or out of BUFFER. */
void vector_gather (const struct iovec *iov, int iovcnt, size_t skip,
                    void *buffer, size_t len);
void vector_scatter (const struct iovec *iov, int iovcnt, size_t skip,
                     const void *buffer, size_t len);

/* Describe LEN bytes from byte SKIP on by SLICE, which has room for IOVCNT
 * pieces.  Returns how many there are.
 */
int vector_slice (const struct iovec *iov, int iovcnt, size_t skip, size_t len,
                  struct iovec *slice);

#endif /* DMIO_VECTOR_H */
