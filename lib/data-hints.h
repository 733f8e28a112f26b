/* Where a file is known to have data: a memory that may forget.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * To find the end of data a file system may look at every page of it: on a
 * tmpfs a millisecond for 256 MiB.  Who asks for small parts, one after the
 * other, would pay that each time.
 *
 * Data that became a hole behind its back may still be said to be data, which
 * is true enough: it reads as zeroes.  A hole that was never data is never
 * said to be data, unless threads add at the same time.  Nothing is locked.
 */

#ifndef DMIO_DATA_HINTS_H
#define DMIO_DATA_HINTS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "sector.h"

#define DATA_HINTS_SLOTS 64U

/* All zeroes: nothing is known. */
struct data_hints {
  /* The run of data that was found last in a window of sectors, which may
   * begin before it and end after it.  Several windows share a slot.
   */
  struct {
    atomic_ullong start;
    atomic_ullong end;
  } slots[DATA_HINTS_SLOTS];
};

/* True if all of these sectors, at least one, are known to be data. */
bool data_hints_has (struct data_hints *hints, sector_t sector, sector_t count);

/* True if anything is known that may be near SECTOR; where its window starts.
 */
bool data_hints_know_about (struct data_hints *hints, sector_t sector);
sector_t data_hints_start_of (sector_t sector);

/* These sectors are data. */
void data_hints_add (struct data_hints *hints, sector_t sector, sector_t count);

/* Some of these are data no more. */
void data_hints_forget (struct data_hints *hints, sector_t sector,
                        sector_t count);

#endif /* DMIO_DATA_HINTS_H */
