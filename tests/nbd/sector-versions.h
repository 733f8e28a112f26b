/* What each sector of a volume may hold after its server was killed.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States of a sector: a list of versions, oldest first.
 *
 *   issue of a change   -> append a version           [versions_issue]
 *   its reply           -> it is acknowledged         [versions_acknowledge]
 *   reply with FUA      -> drop all before it         [versions_acknowledge]
 *   reply of a flush    -> drop all before the last that was acknowledged
 *                          when the flush was issued  [versions_flushed]
 *   reading after death -> the one read is left       [versions_settle]
 *
 * Changes in flight must not share a sector, so that its versions have an
 * order.
 * Without memory the program ends.
 */

#ifndef DM_TEST_SECTOR_VERSIONS_H
#define DM_TEST_SECTOR_VERSIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SECTOR 512

struct sector_versions;

/* Of a volume whose SECTORS hold what is in CONTENT, durably: request 0. */
struct sector_versions *versions_create (uint64_t sectors,
                                         const uint8_t *content);
void versions_free (struct sector_versions *v);

/* The request OP has been issued, which leaves BYTES in sector N. */
void versions_issue (struct sector_versions *v, uint64_t n, uint64_t op,
                     const uint8_t *bytes);

/* Its reply has come for the sectors from FIRST to LAST, the REPLYth of all,
 * counted from 1; it IS_DURABLE if it had FUA.
 */
void versions_acknowledge (struct sector_versions *v, uint64_t first,
                           uint64_t last, uint64_t op, uint64_t reply,
                           bool is_durable);

/* Everything acknowledged by the reply UNTIL is durable. */
void versions_flushed (struct sector_versions *v, uint64_t until);

enum version_found {
  VERSION_LAST,    /* the last one acknowledged, or a later one */
  VERSION_EARLIER, /* an earlier one, of those that may be there */
  VERSION_OLD,     /* one that a flush or FUA had replaced */
  VERSION_FOREIGN, /* nothing that was ever there, as far as is known */
};

/* To see the judge object: as if something else had been read, where that
 * makes a difference.
 */
enum version_plant {
  PLANT_NONE,
  PLANT_OLD,     /* a version that may not be there any more */
  PLANT_EARLIER, /* the one before the last one acknowledged */
};

/* Sector N holds BYTES after a start.  *OP is the request of the last version
 * acknowledged, or, for VERSION_OLD, of the one that was found; *IS_IN_DOUBT
 * tells if there was more than one that may be there.  Unless it is old or
 * foreign, what was read is then the only version.
 */
enum version_found versions_settle (struct sector_versions *v, uint64_t n,
                                    const uint8_t *bytes,
                                    enum version_plant plant, uint64_t *op,
                                    bool *is_in_doubt);

/* A line for each version that sector N may hold. */
void versions_print (const struct sector_versions *v, uint64_t n, FILE *out);

#endif /* DM_TEST_SECTOR_VERSIONS_H */
