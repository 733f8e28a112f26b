/* Which chunks of a device have moved, and whereto: in memory.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Maps old chunks to new chunks.  Runs of neighbours that moved to
 * neighbours cost as much as one.  No function locks: the caller holds
 * the lock that protects the table.
 */

#ifndef DM_EXCEPTION_TABLE_H
#define DM_EXCEPTION_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct exception_table;

/* New chunks are below this. */
#define EXCEPTION_NEW_CHUNK_MAX (UINT64_C (1) << 48)

/* Make a table for old chunks 0 .. CHUNK_COUNT - 1.  Returns 0, or
 * -ENOMEM.  A large device costs little memory before it has exceptions.
 */
int exception_table_create (uint64_t chunk_count,
                            struct exception_table **table);
void exception_table_destroy (struct exception_table *table);

/* Add one exception.  Returns 0, or -EEXIST (OLD_CHUNK has moved
 * already), -ERANGE (one of the numbers is too large), -ENOMEM.
 */
int exception_table_insert (struct exception_table *table, uint64_t old_chunk,
                            uint64_t new_chunk);

/* Make sure that COUNT exceptions from OLD_CHUNK on, which are all there, can
 * be removed one by one, the last one first.  Returns 0 or -ENOMEM.
 */
int exception_table_reserve (struct exception_table *table, uint64_t old_chunk,
                             uint64_t count);

/* Remove an exception that is there, and for which that has been done. */
void exception_table_remove (struct exception_table *table, uint64_t old_chunk);

/* What happened to OLD_CHUNK and its neighbours. */
struct exception_run {
  bool is_mapped;
  uint64_t new_chunk; /* where OLD_CHUNK is, if it is mapped */
  uint64_t count;     /* so many chunks are alike: mapped one behind the
                       * other, or not mapped; at least 1 */
};

/* Look up OLD_CHUNK (inside the device) and at most MAX (at least 1)
 * chunks from there.  The run may end before the longest possible one.
 */
struct exception_run exception_table_lookup (
  const struct exception_table *table, uint64_t old_chunk, uint64_t max);

/* Exceptions in the table. */
uint64_t exception_table_count (const struct exception_table *table);

#endif /* DM_EXCEPTION_TABLE_H */
