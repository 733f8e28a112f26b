/* Where a file is known to have data: a memory that may forget.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A run that is added is noted for each window that it touches, so that
 * random places of one long run do not have it searched for again and
 * again: only a place before all others does, and of those there are few.
 */

#include <config.h>

#include "bits.h"
#include "data-hints.h"

/* 128 MiB */
#define WINDOW_SHIFT 18U

static unsigned
slot_of (sector_t sector)
{
  return (unsigned) (sector >> WINDOW_SHIFT) % DATA_HINTS_SLOTS;
}

bool
data_hints_has (struct data_hints *hints, sector_t sector, sector_t count)
{
  unsigned i = slot_of (sector);
  sector_t start = atomic_load (&hints->slots[i].start);
  sector_t end = atomic_load (&hints->slots[i].end);

  return start <= sector && sector < end && count <= end - sector;
}

bool
data_hints_know_about (struct data_hints *hints, sector_t sector)
{
  return atomic_load (&hints->slots[slot_of (sector)].end) != 0;
}

sector_t
data_hints_start_of (sector_t sector)
{
  return sector >> WINDOW_SHIFT << WINDOW_SHIFT;
}

void
data_hints_add (struct data_hints *hints, sector_t sector, sector_t count)
{
  sector_t first = sector >> WINDOW_SHIFT;
  sector_t w, last;

  if (count == 0)
    return;
  last = MIN_OF ((sector + count - 1) >> WINDOW_SHIFT,
                 first + DATA_HINTS_SLOTS - 1);
  for (w = first; w <= last; ++w) {
    unsigned i = slot_of (w << WINDOW_SHIFT);

    atomic_store (&hints->slots[i].start, sector);
    atomic_store (&hints->slots[i].end, sector + count);
  }
}

void
data_hints_forget (struct data_hints *hints, sector_t sector, sector_t count)
{
  unsigned i;

  for (i = 0; i < DATA_HINTS_SLOTS; ++i)
    if (atomic_load (&hints->slots[i].start) < sector + count &&
        atomic_load (&hints->slots[i].end) > sector)
      atomic_store (&hints->slots[i].end, 0);
}
