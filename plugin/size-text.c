/* Sizes as people write them.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "checked-math.h"
#include "sector.h"
#include "size-text.h"

/* Shift of a unit, or -1. */
static int
unit_shift (char unit)
{
  static const char units[] = "KMGTPE";
  const char *p;

  if (unit == 's')
    return SECTOR_SHIFT;
  if (unit == 'b')
    return 0;
  if (unit == 'k')
    unit = 'K';
  p = unit != '\0' ? strchr (units, unit) : NULL;
  return p != NULL ? 10 * (int) (p - units + 1) : -1;
}

bool
size_parse (const char *text, uint64_t *bytes)
{
  uint64_t n = 0;

  if (*text < '0' || *text > '9')
    return false;
  for (; *text >= '0' && *text <= '9'; ++text)
    if (!checked_mul (n, 10, &n) ||
        !checked_add (n, (uint64_t) (*text - '0'), &n))
      return false;
  if (*text != '\0') {
    int shift = unit_shift (*text);

    if (shift < 0 || text[1] != '\0' ||
        !checked_mul (n, UINT64_C (1) << shift, &n))
      return false;
  }
  *bytes = n;
  return n <= (uint64_t) INT64_MAX;
}
