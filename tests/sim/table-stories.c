/* The stories of tables, of which every crash, and every error, is tried.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * In each the origin is written first, and durable.
 */

#include <config.h>

#include "bits.h"
#include "table-story.h"

/* A store for all chunks of SECTORS; or transient. */
#define CHUNKS(sectors, chunk) (((sectors) + (chunk) -1) / (chunk))
#define P(count, chunk) \
  { \
    .sectors = (count), .chunk_sectors = (chunk), \
    .cow_sectors = (CHUNKS (count, chunk) + 2 + \
                    CHUNKS (count, chunk) / (32 * (chunk))) * \
                   (chunk) \
  }
#define N(count, chunk) \
  { \
    .sectors = (count), .chunk_sectors = (chunk), \
    .cow_sectors = CHUNKS (count, chunk) * (chunk), .is_transient = true \
  }
/* Room for so many chunks. */
#define SMALL(count, chunk, room) \
  { \
    .sectors = (count), .chunk_sectors = (chunk), \
    .cow_sectors = ((room) + 2) * (chunk) \
  }

/* The first life, and the beginning of the dangerous one. */
#define FILLED(units) \
  { TABLE_LIFE, 0, 0, 0 }, \
  { \
    TABLE_FUA, 0, 0, (units) \
  }
#define TAKEN_IN_DANGER \
  { \
    TABLE_LIFE, TABLE_DANGER | TABLE_TAKE, 0, 0 \
  }
#define TAKEN \
  { \
    TABLE_LIFE, TABLE_TAKE, 0, 0 \
  }
#define IN_DANGER(flags) \
  { \
    TABLE_LIFE, TABLE_DANGER | (flags), 0, 0 \
  }

const struct table_story table_stories[] = {
  { "table-first-write-with-one",
    16,
    1,
    { P (16, 4) },
    { FILLED (32), TAKEN_IN_DANGER, { TABLE_WRITE, 0, 2, 4 } } },
  { "table-first-write-with-two",
    16,
    2,
    { P (16, 4), P (16, 4) },
    { FILLED (32),
      TAKEN_IN_DANGER,
      { TABLE_WRITE, 0, 2, 8 },
      { TABLE_FLUSH, 0, 0, 0 } } },
  { "table-first-write-with-three",
    16,
    3,
    { P (16, 2), P (16, 2), P (16, 2) },
    { FILLED (32),
      TAKEN,
      { TABLE_WRITE_SNAPSHOT, 1, 0, 4 },
      IN_DANGER (0),
      { TABLE_WRITE, 0, 2, 10 } } },
  /* Transient ones, and chunks of other sizes, are copied in turn. */
  { "table-first-write-with-all-kinds",
    19,
    3,
    { P (19, 4), P (10, 2), N (19, 4) },
    { FILLED (38),
      TAKEN,
      IN_DANGER (0),
      { TABLE_WRITE, 0, 14, 16 },
      { TABLE_ZERO, 0, 34, 4 } } },
  { "table-first-write-with-transients",
    16,
    2,
    { N (16, 2), N (16, 8) },
    { FILLED (32),
      TAKEN_IN_DANGER,
      { TABLE_WRITE, 0, 2, 8 },
      { TABLE_FUA, 0, 20, 2 } } },
  { "table-snapshot-is-written",
    16,
    2,
    { P (16, 4), P (16, 4) },
    { FILLED (32),
      TAKEN,
      IN_DANGER (0),
      { TABLE_WRITE_SNAPSHOT, 0, 2, 4 },
      { TABLE_WRITE, 0, 0, 8 },
      { TABLE_WRITE_SNAPSHOT, 0, 4, 2 },
      { TABLE_FLUSH_SNAPSHOT, 0, 0, 0 } } },
  { "table-snapshots-alone",
    16,
    2,
    { P (16, 4), N (16, 2) },
    { FILLED (32),
      TAKEN_IN_DANGER,
      { TABLE_WRITE_SNAPSHOT, 0, 2, 4 },
      { TABLE_WRITE_SNAPSHOT, 1, 2, 4 },
      { TABLE_LIFE, TABLE_CRASHED | TABLE_ALONE, 0, 0 },
      { TABLE_WRITE_SNAPSHOT, 0, 20, 4 } } },
  /* The areas of the stores become full at once. */
  { "table-area-boundary",
    40,
    2,
    { P (40, 1), P (40, 1) },
    { FILLED (80),
      TAKEN,
      { TABLE_FUA, 0, 0, 60 },
      IN_DANGER (0),
      { TABLE_WRITE, 0, 60, 8 } } },
  { "table-store-is-full",
    16,
    3,
    { P (16, 2), SMALL (16, 2, 1), P (16, 2) },
    { FILLED (32),
      TAKEN,
      { TABLE_WRITE, 0, 0, 4 },
      IN_DANGER (0),
      { TABLE_WRITE, 0, 4, 8 },
      { TABLE_FLUSH, 0, 0, 0 },
      { TABLE_WRITE, 0, 20, 2 } } },
  { "table-store-fails",
    24,
    3,
    { P (24, 2), P (24, 2), P (24, 2) },
    { FILLED (48),
      TAKEN,
      { TABLE_WRITE_SNAPSHOT, 0, 0, 4 },
      IN_DANGER (0),
      { TABLE_WRITE, 0, 40, 2 },
      { TABLE_FAIL, 1, SIM_WRITE, 0 },
      { TABLE_WRITE, 0, 0, 24 },
      { TABLE_FLUSH, 0, 0, 0 } } },
  /* The mark of one that was lost is in the kernel's memory only, or durable:
   * whichever, what is overwritten after it must not be seen in that one.
   */
  { "table-loss-is-found-after-a-kill",
    16,
    2,
    { SMALL (16, 2, 1), P (16, 2) },
    { FILLED (32),
      TAKEN,
      { TABLE_WRITE, 0, 0, 4 },
      IN_DANGER (0),
      { TABLE_WRITE, 0, 4, 2 },
      { TABLE_LIFE, TABLE_CUT, 0, 0 },
      { TABLE_FUA, 0, 4, 4 } } },
  /* So is a record, whose chunk is written to, durably, before it is itself. */
  { "table-record-is-found-after-a-kill",
    16,
    1,
    { P (16, 2) },
    { FILLED (32),
      TAKEN,
      IN_DANGER (0),
      { TABLE_WRITE_SNAPSHOT, 0, 4, 2 },
      { TABLE_LIFE, TABLE_CUT, 0, 0 },
      { TABLE_FUA, 0, 4, 4 } } },
  /* A snapshot is taken of what is in the kernel's memory only. */
  { "table-taken-after-a-kill",
    16,
    1,
    { P (16, 2) },
    { FILLED (32),
      { TABLE_LIFE, TABLE_SHOT, 0, 0 },
      { TABLE_WRITE, 0, 4, 8 },
      IN_DANGER (TABLE_TAKE | TABLE_LOOK),
      { TABLE_READ, 0, 0, 0 } } },
  { "table-client-comes-after-a-kill",
    16,
    1,
    { P (16, 2) },
    { FILLED (32),
      { TABLE_LIFE, TABLE_TAKE | TABLE_SHOT, 0, 0 },
      { TABLE_WRITE, 0, 4, 8 },
      IN_DANGER (0),
      { TABLE_READ, 0, 0, 0 } } },
  { "table-merge",
    16,
    2,
    { P (16, 2), P (16, 4) },
    { FILLED (32),
      TAKEN,
      { TABLE_WRITE, 0, 0, 10 },
      { TABLE_WRITE_SNAPSHOT, 0, 20, 4 },
      IN_DANGER (TABLE_MERGE),
      { TABLE_WRITE, 0, 2, 4 },
      { TABLE_WRITE, 0, 28, 2 },
      { TABLE_FLUSH, 0, 0, 0 },
      { TABLE_MERGED, 0, 0, 0 } } },
  { "table-merge-is-begun-again",
    16,
    2,
    { P (16, 2), P (16, 2) },
    { FILLED (32),
      TAKEN,
      { TABLE_WRITE, 0, 0, 4 },
      { TABLE_WRITE, 0, 8, 4 },
      { TABLE_WRITE_SNAPSHOT, 0, 20, 4 },
      IN_DANGER (TABLE_MERGE),
      { TABLE_WRITE, 0, 2, 4 },
      { TABLE_LIFE, TABLE_MERGE, 0, 0 },
      { TABLE_FUA, 0, 20, 2 },
      { TABLE_LIFE, TABLE_MERGE | TABLE_CRASHED, 0, 0 },
      { TABLE_WRITE, 0, 30, 2 },
      { TABLE_MERGED, 0, 0, 0 } } },
  /* Back over the boundary of an area. */
  { "table-merge-of-two-areas",
    40,
    1,
    { P (40, 1) },
    { FILLED (80),
      TAKEN,
      { TABLE_FUA, 0, 0, 72 },
      IN_DANGER (TABLE_MERGE),
      { TABLE_WRITE, 0, 62, 2 },
      { TABLE_MERGED, 0, 0, 0 } } },
};

const unsigned table_story_count = ARRAY_COUNT (table_stories);
