/* The verbs cow info, cow check and cow dump: a snapshot's store, offline.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Stores of ours and of the kernel are the same.  The file is opened for
 * reading, and is read by the code that the server uses, with all its checks;
 * so what is good here can be opened there.  Of the origin nothing is known
 * but what is given: its size with --origin-size.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "exception-store.h"
#include "log-sink.h"
#include "show.h"
#include "target.h"

/* Neighbours that were copied together: COUNT chunks from here on. */
struct run {
  uint64_t old_chunk, new_chunk, count;
};

struct cow {
  struct block_device *bdev;
  struct exception_store *store;
  uint64_t records, runs;
  uint64_t *old_chunks; /* of all records, to find duplicates */
  size_t old_chunks_size;
  struct ctl_list *list; /* for cow dump, or NULL */
  struct run run;
};

/*----- opening ---------------------------------------------------------*/

static int
say_open_error (const char *path, int r)
{
  if (r == -EINVAL)
    return ctl_error ("%s: its size is not a multiple of 512 bytes, so it is "
                      "no store, or was cut short",
                      path);
  if (r == -EISDIR || r == -ENOTBLK)
    return ctl_errno (r, "%s: is neither a file nor a block device", path);
  return ctl_errno (r, "%s: cannot be opened: %s", path, errno_text (r));
}

/* Open the store PATH for reading.  What is wrong is said. */
static int
cow_open (const char *path, const char *origin_size, struct cow *cow)
{
  sector_t origin_sectors = SECTOR_MAX;
  int r;

  if (bdev_spec_is_uri (path))
    return ctl_error ("%s: give a file or a block device", path);
  if (origin_size != NULL) {
    origin_sectors = ctl_size (origin_size) >> SECTOR_SHIFT;
    if (origin_sectors == 0 || ctl_size (origin_size) % SECTOR_SIZE != 0) {
      (void) ctl_error ("--origin-size: no volume has %s bytes: it must be a "
                        "multiple of 512",
                        origin_size);
      return EXIT_USAGE;
    }
  }
  r = bdev_open (path, BDEV_OPEN_READ_ONLY | BDEV_OPEN_BUFFERED, &cow->bdev);
  if (r < 0)
    return say_open_error (path, r);
  r = exception_store_open (cow->bdev, origin_sectors, &cow->store);
  if (r == 0)
    return EXIT_DONE;
  bdev_close (cow->bdev);
  /* A damaged one has been told. */
  return r == -EINVAL ? EXIT_FAILED
                      : ctl_errno (r, "%s: %s", path, errno_text (r));
}

static void
cow_close (struct cow *cow)
{
  free (cow->old_chunks);
  exception_store_close (cow->store);
  bdev_close (cow->bdev);
}

/*----- records ---------------------------------------------------------*/

static void
end_run (struct cow *cow)
{
  const struct run *run = &cow->run;

  if (run->count == 0)
    return;
  if (cow->list != NULL)
    fprintf (ctl_list_item (cow->list),
             cow->list->is_json ? "{\"old_chunk\": %" PRIu64
                                  ", \"new_chunk\": %" PRIu64
                                  ", \"count\": %" PRIu64 "}"
                                : "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
             run->old_chunk, run->new_chunk, run->count);
  cow->runs++;
}

static int
take_record (void *opaque, const struct exception *e)
{
  struct cow *cow = opaque;
  struct run *run = &cow->run;

  if (cow->records == cow->old_chunks_size) {
    size_t size = cow->old_chunks_size * 2 + 1024;
    uint64_t *p = realloc (cow->old_chunks, size * sizeof *p);

    if (p == NULL)
      return -ENOMEM;
    cow->old_chunks = p;
    cow->old_chunks_size = size;
  }
  cow->old_chunks[cow->records++] = e->old_chunk;
  if (run->count > 0 && e->old_chunk == run->old_chunk + run->count &&
      e->new_chunk == run->new_chunk + run->count) {
    run->count++;
    return 0;
  }
  end_run (cow);
  *run = (struct run){ e->old_chunk, e->new_chunk, 1 };
  return 0;
}

static int
compare_chunks (const void *a, const void *b)
{
  uint64_t x, y;

  memcpy (&x, a, sizeof x);
  memcpy (&y, b, sizeof y);
  return x < y ? -1 : x > y;
}

/* No chunk has two records: the server would not know which one counts. */
static int
check_duplicates (const char *path, struct cow *cow)
{
  uint64_t i;

  if (cow->records > 0)
    qsort (cow->old_chunks, cow->records, sizeof cow->old_chunks[0],
           compare_chunks);
  for (i = 1; i < cow->records; ++i)
    if (cow->old_chunks[i - 1] == cow->old_chunks[i])
      return ctl_error ("%s: old chunk %" PRIu64 " has two records: the file "
                        "is damaged",
                        path, cow->old_chunks[i]);
  return EXIT_DONE;
}

/* Read all records.  What is wrong has been said by who found it. */
static int
cow_load (const char *path, struct cow *cow)
{
  int r = exception_store_load (cow->store, take_record, cow);

  end_run (cow);
  if (r == 0)
    return check_duplicates (path, cow);
  return r == -EINVAL
           ? EXIT_FAILED
           : ctl_errno (r, "%s: cannot be read: %s", path, errno_text (r));
}

/*----- the verbs -------------------------------------------------------*/

static int
print_info (const struct ctl *ctl, const char *path, struct cow *cow)
{
  struct exception_store_usage usage;
  uint64_t chunk = sector_to_bytes (exception_store_chunk_sectors (cow->store));
  bool is_valid = exception_store_is_valid (cow->store);
  char a[SHOW_SIZE_BYTES], b[SHOW_SIZE_BYTES];

  exception_store_get_usage (cow->store, &usage);
  if (ctl->is_json) {
    json_t *info = json_pack (
      "{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "file", path, "format",
      "persistent", "valid", (int) is_valid, "chunk_size", (json_int_t) chunk,
      "chunks", (json_int_t) cow->records, "runs", (json_int_t) cow->runs,
      "used_bytes", (json_int_t) sector_to_bytes (usage.used_sectors),
      "metadata_bytes", (json_int_t) sector_to_bytes (usage.metadata_sectors),
      "store_bytes", (json_int_t) sector_to_bytes (usage.total_sectors));

    int r = ctl_print_json (info);

    json_decref (info);
    return r;
  }
  printf ("file       %s\n", path);
  printf ("format     persistent, version 1\n");
  printf ("state      %s\n", is_valid ? "valid" : "invalid");
  printf ("chunk      %s\n", show_size (chunk, a));
  printf ("copied     %" PRIu64 " chunks, in %" PRIu64 " runs\n", cow->records,
          cow->runs);
  if (cow->records > 0)
    printf ("origin     at least %" PRIu64 " chunks\n",
            cow->old_chunks[cow->records - 1] + 1);
  printf ("used       %s of %s\n",
          show_size (sector_to_bytes (usage.used_sectors), a),
          show_size (sector_to_bytes (usage.total_sectors), b));
  return EXIT_DONE;
}

int
run_cow_info (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values)
{
  const char *path = verb_value (verb, values, "FILE");
  struct cow cow = { 0 };
  int r = cow_open (path, verb_value (verb, values, "--origin-size"), &cow);

  if (r != EXIT_DONE)
    return r;
  r = cow_load (path, &cow);
  if (r == EXIT_DONE)
    r = print_info (ctl, path, &cow);
  cow_close (&cow);
  return r;
}

int
run_cow_check (struct ctl *ctl, const struct verb *verb,
               const struct verb_values *values)
{
  const char *path = verb_value (verb, values, "FILE");
  struct cow cow = { 0 };
  bool is_valid;
  int r = cow_open (path, verb_value (verb, values, "--origin-size"), &cow);

  if (r != EXIT_DONE)
    return r;
  r = cow_load (path, &cow);
  is_valid = exception_store_is_valid (cow.store);
  cow_close (&cow);
  if (r != EXIT_DONE)
    return r;
  if (ctl->is_json)
    printf ("{\"good\": true, \"valid\": %s, \"chunks\": %" PRIu64 "}\n",
            is_valid ? "true" : "false", cow.records);
  else
    printf ("%s: %" PRIu64 " records, all good%s\n", path, cow.records,
            is_valid ? ""
                     : "; but it is marked invalid: the snapshot is lost, what "
                       "was copied before is there");
  return EXIT_DONE;
}

int
run_cow_dump (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values)
{
  const char *path = verb_value (verb, values, "FILE");
  struct ctl_list list;
  struct cow cow = { .list = &list };
  int r = cow_open (path, verb_value (verb, values, "--origin-size"), &cow);

  if (r != EXIT_DONE)
    return r;
  r = ctl_list_begin (&list, ctl, "# old chunk, new chunk, count");
  if (r == EXIT_DONE)
    r = ctl_list_end (&list, cow_load (path, &cow));
  cow_close (&cow);
  return r;
}
