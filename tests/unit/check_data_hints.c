/* Unit tests of what is remembered about the data of a file.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "data-hints.h"
#include "target-test.h"

/* One window. */
#define WINDOW ((sector_t) 1 << 18)

START_TEST (what_was_added_is_known)
{
  static struct data_hints hints;
  sector_t s;

  memset (&hints, 0, sizeof hints);
  ck_assert (!data_hints_has (&hints, 0, 1));
  ck_assert (!data_hints_know_about (&hints, 100));
  data_hints_add (&hints, 100, 50);
  ck_assert (data_hints_know_about (&hints, WINDOW - 1));
  ck_assert (!data_hints_know_about (&hints, WINDOW));
  ck_assert_uint_eq (data_hints_start_of (3 * WINDOW - 1), 2 * WINDOW);
  ck_assert (data_hints_has (&hints, 100, 50));
  ck_assert (data_hints_has (&hints, 149, 1));
  ck_assert (!data_hints_has (&hints, 99, 2));
  ck_assert (!data_hints_has (&hints, 149, 2));
  ck_assert (!data_hints_has (&hints, 150, 1));
  ck_assert (!data_hints_has (&hints, 120, SECTOR_MAX));
  data_hints_add (&hints, 5, 0);
  ck_assert (!data_hints_has (&hints, 5, 1));

  /* A long run is known everywhere; a place before it is not. */
  data_hints_add (&hints, WINDOW / 2, 20 * WINDOW);
  for (s = WINDOW / 2; s < 20 * WINDOW; s += WINDOW / 4)
    ck_assert (data_hints_has (&hints, s, 128));
  ck_assert (!data_hints_has (&hints, WINDOW / 2 - 1, 2));
  ck_assert (!data_hints_has (&hints, 20 * WINDOW + WINDOW / 2 - 1, 2));
}
END_TEST

START_TEST (what_became_a_hole_is_forgotten)
{
  static struct data_hints hints;

  memset (&hints, 0, sizeof hints);
  data_hints_add (&hints, 0, 4 * WINDOW);
  data_hints_add (&hints, 8 * WINDOW, 10);
  data_hints_forget (&hints, 3 * WINDOW + 7, 1);
  ck_assert (!data_hints_has (&hints, 3 * WINDOW + 7, 1));
  ck_assert (!data_hints_has (&hints, 0, 3 * WINDOW + 8));
  ck_assert (data_hints_has (&hints, 8 * WINDOW, 10));
  data_hints_forget (&hints, 8 * WINDOW + 10, 10);
  ck_assert (data_hints_has (&hints, 8 * WINDOW, 10));
  data_hints_forget (&hints, 0, 100 * WINDOW);
  ck_assert (!data_hints_has (&hints, 8 * WINDOW, 1));
}
END_TEST

/* Whatever is done, nothing is said to be data that is not. */
START_TEST (never_more_than_there_is)
{
  enum { UNITS = 4096, STEPS = 100000 };
  /* So that slots are shared by several windows. */
  const sector_t unit = WINDOW / 4 + 3;
  static struct data_hints hints;
  static bool is_data[UNITS];
  struct chance chance = chance_begin ("never_more_than_there_is");
  unsigned step, i, hits = 0;

  memset (&hints, 0, sizeof hints);
  memset (is_data, 0, sizeof is_data);
  for (step = 0; step < STEPS; ++step) {
    unsigned first = (unsigned) chance_below (&chance, UNITS);
    unsigned count = 1 + (unsigned) chance_below (&chance, 8);
    unsigned what = (unsigned) chance_below (&chance, 3);
    bool all = true;

    count = count > UNITS - first ? UNITS - first : count;
    for (i = first; i < first + count; ++i) {
      all = all && is_data[i];
      if (what < 2)
        is_data[i] = what == 0;
    }
    if (what == 0)
      data_hints_add (&hints, first * unit, count * unit);
    else if (what == 1)
      data_hints_forget (&hints, first * unit, count * unit);
    else if (data_hints_has (&hints, first * unit, count * unit)) {
      ck_assert (all);
      hits++;
    }
  }
  ck_assert_uint_gt (hits, 0);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    what_was_added_is_known,
    what_became_a_hole_is_forgotten,
    never_more_than_there_is,
    NULL,
  };

  return unit_main ("data-hints", tests);
}
