/* The method diff: which parts of the volume differ between two snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A page at a time, so that no answer is too long and no look takes too
 * long; who asks goes on at the offset where the last page ended.  The
 * diff export is opened as a client would do it, and has all the answers.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>

#include "bits.h"
#include "control-impl.h"
#include "manifest.h"

#define PAGE_EXTENTS 1000
#define PAGE_LOOKS 100000

/* "A..B", or "A.." for the volume. */
#define DIFF_NAME_BYTES (2 * SNAPSHOT_NAME_MAX + 3)

struct page {
  json_t *extents;
  uint64_t begin, end; /* of the one that is not added yet, in bytes */
};

static void
end_extent (struct page *page)
{
  if (page->end > page->begin)
    (void) json_array_append_new (page->extents,
                                  json_pack ("[I, I]", (json_int_t) page->begin,
                                             (json_int_t) (page->end -
                                                           page->begin)));
  page->begin = page->end;
}

/* Fill PAGE from SECTOR on.  Returns where it ends, or a negative errno. */
static int
fill_page (struct target *target, struct page *page, sector_t *sector)
{
  unsigned looks;

  for (looks = 0; *sector < target->sectors && looks < PAGE_LOOKS &&
                  json_array_size (page->extents) < PAGE_EXTENTS;
       ++looks) {
    struct bdev_extent extent;
    int r = target_extent (target, *sector, target->sectors - *sector, &extent);

    if (r < 0)
      return r;
    if (!extent.is_hole) {
      uint64_t begin = sector_to_bytes (*sector);

      if (begin != page->end) {
        end_extent (page);
        page->begin = begin;
      }
      page->end = begin + sector_to_bytes (extent.count);
    }
    *sector += extent.count;
  }
  end_extent (page);
  return 0;
}

static int
refuse (struct rpc_result *result, int r, const char *from, const char *to)
{
  const char *what;

  switch (r) {
  case -ENOENT:
    what = "there is no such snapshot; 'dmnbd snapshot list' shows them";
    break;
  case -EINVAL:
    what = "the older one must come first";
    break;
  case -EIO:
    what = "one of them is invalid, so nobody knows";
    break;
  default:
    what = errno_text (r);
  }
  (void) snprintf (result->why, sizeof result->why, "diff '%.64s' '%.64s': %s",
                   from, to, what);
  return r;
}

int
call_diff (void *context, const json_t *params, struct rpc_result *result)
{
  const struct control_call *call = context;
  const char *from = rpc_string (params, "from", "");
  const char *to = rpc_string (params, "to", "");
  sector_t sector = rpc_number (params, "offset", 0) >> SECTOR_SHIFT;
  char name[DIFF_NAME_BYTES];
  struct page page = { .extents = json_array () };
  struct volume_device *d;
  json_t *next;
  int r;

  if (!snapshot_name_is_valid (from) ||
      (to[0] != '\0' && !snapshot_name_is_valid (to))) {
    json_decref (page.extents);
    return refuse (result, -ENOENT, from, to);
  }
  (void) snprintf (name, sizeof name, "%s..%s", from, to);
  r = volume_device_open (call->control->volume, name, false, &d);
  if (r < 0) {
    json_decref (page.extents);
    return refuse (result, r, from, to);
  }
  page.begin = page.end = sector_to_bytes (sector);
  r = fill_page (d->target, &page, &sector);
  next = sector < d->target->sectors
           ? json_integer ((json_int_t) sector_to_bytes (sector))
           : json_null ();
  volume_device_close (d);
  if (r < 0) {
    json_decref (page.extents);
    json_decref (next);
    return refuse (result, r, from, to);
  }
  result->value = json_pack ("{s:o, s:o}", "extents", page.extents, "next",
                             next);
  return 0;
}
