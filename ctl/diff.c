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
  bool is_json;
  bool is_first;
  uint64_t offset, length; /* of the one that is not printed yet */
};

static void
print_extent (struct diff *d)
{
  if (d->length == 0)
    return;
  if (d->is_json)
    printf ("%s\n  {\"offset\": %" PRIu64 ", \"length\": %" PRIu64 "}",
            d->is_first ? "" : ",", d->offset, d->length);
  else
    printf ("%" PRIu64 " %" PRIu64 "\n", d->offset, d->length);
  d->is_first = false;
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

int
run_diff (struct ctl *ctl, const struct verb *verb,
          const struct verb_values *values)
{
  const char *from = verb_value (verb, values, "A");
  const char *to = verb_value (verb, values, "B");
  struct diff d = { .is_json = ctl->is_json, .is_first = true };
  json_int_t offset = 0;
  bool goes_on = true;

  if (!show_is_utf8 (from) || (to != NULL && !show_is_utf8 (to)))
    return ctl_error ("diff: there is no snapshot of that name: it is not "
                      "UTF-8");
  while (goes_on) {
    json_t *page = client_call (ctl, verb->method,
                                json_pack ("{s:s, s:s*, s:I}", "from", from,
                                           "to", to, "offset", offset),
                                CLIENT_NO_LIMIT);
    const json_t *next;

    if (page == NULL)
      return EXIT_FAILED;
    if (offset == 0 && ctl->is_json)
      printf ("[");
    take_page (&d, page);
    next = json_object_get (page, "next");
    /* It must get on. */
    goes_on = json_is_integer (next) && json_integer_value (next) > offset;
    offset = json_integer_value (next);
    json_decref (page);
  }
  print_extent (&d);
  if (ctl->is_json)
    printf ("\n]\n");
  return EXIT_DONE;
}
