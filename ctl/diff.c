/* The verb diff: what has changed between two snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * It comes in pages; extents that meet where two pages do are joined.
 */

#include <config.h>

#include <inttypes.h>

#include "client.h"
#include "show.h"

struct diff {
  struct ctl_list list;
  uint64_t offset, length; /* of the one that is not printed yet */
};

static void
print_extent (struct diff *d)
{
  if (d->length == 0)
    return;
  fprintf (ctl_list_item (&d->list),
           d->list.is_json ? "{\"offset\": %" PRIu64 ", \"length\": %" PRIu64
                             "}"
                           : "%" PRIu64 " %" PRIu64 "\n",
           d->offset, d->length);
}

static void
take_page (struct diff *d, const json_t *page)
{
  const json_t *extent;
  size_t i;

  json_array_foreach (json_object_get (page, "extents"), i, extent) {
    uint64_t offset = (uint64_t) json_integer_value (
      json_array_get (extent, 0));
    uint64_t length = (uint64_t) json_integer_value (
      json_array_get (extent, 1));

    if (d->length > 0 && offset == d->offset + d->length) {
      d->length += length;
      continue;
    }
    print_extent (d);
    d->offset = offset;
    d->length = length;
  }
}

/* Ask for all pages. */
static int
take_all (struct ctl *ctl, const struct verb *verb,
          const struct verb_values *values, struct diff *d)
{
  const char *from = verb_value (verb, values, "A");
  const char *to = verb_value (verb, values, "B");
  json_int_t offset = 0;
  bool goes_on = true;

  while (goes_on) {
    json_t *page = client_call (ctl, verb->method,
                                json_pack ("{s:s, s:s*, s:I}", "from", from,
                                           "to", to, "offset", offset),
                                CLIENT_NO_LIMIT);
    const json_t *next;

    if (page == NULL)
      return EXIT_FAILED;
    take_page (d, page);
    next = json_object_get (page, "next");
    /* It must get on. */
    goes_on = json_is_integer (next) && json_integer_value (next) > offset;
    offset = json_integer_value (next);
    json_decref (page);
    /* It may be long: nothing more is asked for if nobody reads it. */
    if (!ctl_flush ())
      return EXIT_FAILED;
  }
  print_extent (d);
  return EXIT_DONE;
}

int
run_diff (struct ctl *ctl, const struct verb *verb,
          const struct verb_values *values)
{
  const char *from = verb_value (verb, values, "A");
  const char *to = verb_value (verb, values, "B");
  struct diff d = { .length = 0 };
  int r;

  if (!show_is_utf8 (from) || (to != NULL && !show_is_utf8 (to)))
    return ctl_error ("diff: there is no snapshot of that name: it is not "
                      "UTF-8");
  r = ctl_list_begin (&d.list, ctl, NULL);
  if (r != EXIT_DONE)
    return r;
  return ctl_list_end (&d.list, take_all (ctl, verb, values, &d));
}
