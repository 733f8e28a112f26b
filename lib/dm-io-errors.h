/* Synchronous I/O on pages that also tells why it failed.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_DM_IO_ERRORS_H
#define DMIO_DM_IO_ERRORS_H

#include "dm-io.h"

/* As dm_io_sync, and as dm_io_sync_vm_errors does: ERRORS[i] becomes 0 or the
 * negative errno of io_region i.
 */
int dm_io_sync_errors (unsigned int num_regions, struct io_region *where,
                       int rw, struct page_list *pl, unsigned int offset,
                       unsigned long *error_bits, int *errors);

#endif /* DMIO_DM_IO_ERRORS_H */
