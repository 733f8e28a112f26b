/* nbdkit's callbacks over a volume: bytes in, bytes out.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The only file that talks to nbdkit.  Bytes become sectors here, and
 * nowhere else: a request is taken apart into whole sectors and, at its
 * ends, parts of one, which are read, changed and written under the hold
 * of the range.  So a writer of half a sector cannot undo what a neighbour
 * writes to the other half.
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "bdev-uring.h"
#include "bits.h"
#include "config.h"
#include "control.h"
#include "log-sink.h"
#include "pace.h"
#include "table-devices.h"
#include "volume.h"

/* What we tell clients; nbdkit itself takes up to 64 MiB. */
#define PREFERRED_BLOCK_BYTES 4096
#define MAX_REQUEST_BYTES (32U << 20)

/* Zeroing and trimming hold a range of at most so much at a time, so that
 * a request of 4 GiB does not stop everybody else.
 */
#define ZERO_PIECE_BYTES (32U << 20)

/* One extents answer covers no more: nbdkit before 1.44 aborts at 4 GiB. */
#define MAX_EXTENTS_BYTES (UINT64_C (1) << 30)

/* So many messages of a kind are enough. */
#define MESSAGES_MAX 20
#define MESSAGES_PER_NS (60 * NS_PER_SECOND)

static struct volume_spec spec;
static struct volume *volume;
static struct table_devices *tables; /* instead of the volume, or NULL */
static struct control *control;      /* NULL: there is no socket */
static struct latency *latency;      /* with it: nobody else can ask */

/* Before nbdkit goes into the background, warnings go to the terminal: it
 * has no call for them.
 */
static atomic_bool is_serving;

/*----- messages --------------------------------------------------------*/

static void
print_message (enum log_level level, const char *message)
{
  switch (level) {
  case LOG_LEVEL_DEBUG:
  case LOG_LEVEL_INFO:
    nbdkit_debug ("%s", message);
    break;
  case LOG_LEVEL_WARNING:
    if (!atomic_load (&is_serving)) {
      fprintf (stderr, "nbdkit: dm: warning: %s\n", message);
      break;
    }
    nbdkit_error ("warning: %s", message);
    break;
  case LOG_LEVEL_ERROR:
    nbdkit_error ("%s", message);
    break;
  }
}

/* The errno for a client.  The protocol knows few, and nbdkit makes "Invalid
 * argument" of all others: but a leg that is gone is no mistake of the
 * client's.
 */
static int
client_errno (int r)
{
  switch (r) {
  case -EPERM:
  case -EROFS:
  case -ENOMEM:
  case -EINVAL:
  case -ENOSPC:
  case -EDQUOT:
  case -EFBIG:
  case -EOVERFLOW:
  case -EOPNOTSUPP:
  case -ESHUTDOWN:
    return -r;
  default:
    return EIO;
  }
}

/* What a callback returns for a negative errno.  The cause has been told
 * where it was found.
 */
static int
result_of (int r)
{
  if (r >= 0)
    return 0;
  nbdkit_set_error (client_errno (r));
  return -1;
}

/*----- the server's life -----------------------------------------------*/

/* Each snapshot has a file open, and the usual limit is 1024 because of
 * select(), which nobody here uses.
 */
static void
raise_file_limit (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    (void) setrlimit (RLIMIT_NOFILE, &limit); /* else it is as it was */
  }
}

static void
dm_load (void)
{
  volume_spec_init (&spec);
  log_sink_set (print_message);
  /* A limit on the size of files is an error of a leg or a store like any
   * other, not the end of the server.
   */
  (void) signal (SIGXFSZ, SIG_IGN);
  raise_file_limit ();
}

static void
dm_unload (void)
{
  control_destroy (control);
  control = NULL;
  latency_destroy (latency);
  latency = NULL;
  volume_close (volume);
  volume = NULL;
  table_devices_close (tables);
  tables = NULL;
  volume_spec_free (&spec);
}

static int
dm_config (const char *key, const char *value)
{
  int r = config_set (&spec, key, value);

  if (r == -ENOMEM)
    nbdkit_error ("out of memory");
  return result_of (r);
}

static int
dm_config_complete (void)
{
  return result_of (config_check (&spec));
}

static int
dm_get_ready (void)
{
  int r = 0;

  if (spec.line_count > 0)
    return result_of (table_devices_open (&spec, &tables));
  /* Before anything is made: a mistake must change nothing. */
  if (spec.control != NULL)
    r = control_check (spec.control);
  if (r == 0)
    r = volume_open (&spec, &volume);
  if (r == 0 && spec.control != NULL)
    r = latency_create (&latency);
  if (r == 0 && spec.control != NULL)
    r = control_create (spec.control, volume, latency, &control);
  return result_of (r);
}

static int
dm_after_fork (void)
{
  atomic_store (&is_serving, true);
  log_sink_limit (MESSAGES_MAX, MESSAGES_PER_NS);
  if (control != NULL) {
    int r = control_start (control);

    if (r < 0)
      log_error ("control=%s: its threads cannot be started: %s", spec.control,
                 errno_text (r));
    return result_of (r);
  }
  return 0;
}

static void
dm_cleanup (void)
{
  if (volume != NULL)
    volume_hurry (volume);
  control_stop (control); /* nobody steers what is being stopped */
  if (volume != NULL)
    volume_stop (volume);
  if (tables != NULL)
    table_devices_stop (tables);
}

static void
dm_dump_plugin (void)
{
  printf ("dm_version=%s\n", PACKAGE_VERSION);
  printf ("dm_engine_io_uring=%s\n", bdev_uring_has_room () ? "yes" : "no");
#ifdef HAVE_LIBNBD
  printf ("dm_libnbd=yes\n");
#else
  printf ("dm_libnbd=no\n");
#endif
  printf ("dm_legs_max=%d\n", MIRROR_MAX_LEGS);
  printf ("dm_store_formats=persistent\n");
}

/*----- exports ---------------------------------------------------------*/

static int
add_export (void *opaque, const char *name, const char *description)
{
  return nbdkit_add_export (opaque, name, description);
}

static int
dm_list_exports (int readonly, int is_tls, struct nbdkit_exports *exports)
{
  (void) readonly;
  (void) is_tls;
  return tables != NULL
           ? table_devices_each_export (tables, add_export, exports)
           : volume_each_export (volume, add_export, exports);
}

static const char *
dm_default_export (int readonly, int is_tls)
{
  (void) readonly;
  (void) is_tls;
  return "";
}

static void *
dm_open (int readonly)
{
  const char *name = nbdkit_export_name ();
  struct volume_device *d;
  int r;

  if (name == NULL)
    return NULL;
  r = tables != NULL ? table_device_open (tables, name, !readonly, &d)
                     : volume_device_open (volume, name, !readonly, &d);
  if (r < 0) {
    nbdkit_set_error (-r);
    return NULL;
  }
  return d;
}

static void
dm_close (void *handle)
{
  if (tables == NULL)
    volume_device_close (handle);
}

static const char *
dm_export_description (void *handle)
{
  const struct volume_device *d = handle;
  char text[VOLUME_DESCRIPTION_BYTES];

  if (tables == NULL)
    return d->description;
  table_device_describe (d, text);
  return nbdkit_strdup_intern (text);
}

static int64_t
dm_get_size (void *handle)
{
  const struct volume_device *d = handle;

  return (int64_t) sector_to_bytes (d->target->sectors);
}

static int
dm_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
               uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = PREFERRED_BLOCK_BYTES;
  *maximum = MAX_REQUEST_BYTES;
  return 0;
}

static int
dm_can_write (void *handle)
{
  const struct volume_device *d = handle;

  return !d->is_read_only;
}

static int
dm_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
dm_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

static int
dm_yes (void *handle)
{
  (void) handle;
  return 1;
}

/*----- bytes and sectors -----------------------------------------------*/

/* The first part of a range of bytes: whole sectors, or some bytes of
 * one.
 */
struct part {
  sector_t sector;
  sector_t count; /* whole sectors, or 1 */
  unsigned skip;  /* bytes of that one sector before the part */
  uint64_t bytes; /* of the range */
  bool is_whole;
};

static struct part
first_part (uint64_t offset, uint64_t bytes)
{
  struct part part = {
    .sector = offset >> SECTOR_SHIFT,
    .skip = offset % SECTOR_SIZE,
    .count = 1,
  };

  if (part.skip == 0 && bytes >= SECTOR_SIZE) {
    part.is_whole = true;
    part.count = bytes >> SECTOR_SHIFT;
    part.bytes = sector_to_bytes (part.count);
  }
  else
    part.bytes = MIN_OF (bytes, (uint64_t) SECTOR_SIZE - part.skip);
  return part;
}

/* Hold all sectors that a range of bytes touches. */
static void
hold_bytes (struct volume_device *d, struct range_hold *hold, uint64_t offset,
            uint64_t bytes)
{
  sector_t first = offset >> SECTOR_SHIFT;
  sector_t end = (offset + bytes + SECTOR_SIZE - 1) >> SECTOR_SHIFT;

  range_lock_acquire (&d->range_lock, hold, first, end - first);
}

static unsigned
bdev_flags_of (uint32_t flags)
{
  return (flags & NBDKIT_FLAG_FUA ? BDEV_FUA : 0) |
         (flags & NBDKIT_FLAG_MAY_TRIM ? BDEV_UNMAP : 0) |
         (flags & NBDKIT_FLAG_FAST_ZERO ? BDEV_FAST : 0);
}

/* Change some bytes of one sector, which the caller holds: to DATA, or to
 * zeroes if that is NULL.
 */
static int
modify_sector (struct volume_device *d, const struct part *part,
               const void *data, unsigned flags)
{
  char sector[SECTOR_SIZE];
  int r = target_read (d->target, sector, part->sector, 1);

  if (r < 0)
    return r;
  if (data != NULL)
    memcpy (sector + part->skip, data, part->bytes);
  else
    memset (sector + part->skip, 0, part->bytes);
  return target_write (d->target, sector, part->sector, 1, flags & BDEV_FUA);
}

/*----- requests --------------------------------------------------------*/

/* One request, which the background is to know of, and whose time is taken if
 * somebody may ask for it.
 */
struct timer {
  enum latency_op op;
  uint64_t began_ns;
};

static struct timer
begin_request (struct volume_device *d, enum latency_op op)
{
  pace_note_request (d->pace);
  return (struct timer){ op, latency != NULL ? clock_now_ns () : 0 };
}

static int
end_request (const struct timer *timer, int r)
{
  if (latency != NULL)
    latency_add (latency, timer->op, clock_now_ns () - timer->began_ns);
  return result_of (r);
}

static int
read_bytes (struct volume_device *d, void *buffer, uint64_t count,
            uint64_t offset)
{
  char *p = buffer;
  uint64_t left = count;
  int r = 0;

  while (left > 0 && r == 0) {
    struct part part = first_part (offset, left);

    if (part.is_whole)
      r = target_read (d->target, p, part.sector, part.count);
    else {
      char sector[SECTOR_SIZE];

      r = target_read (d->target, sector, part.sector, 1);
      if (r == 0)
        memcpy (p, sector + part.skip, part.bytes);
    }
    p += part.bytes;
    offset += part.bytes;
    left -= part.bytes;
  }
  return r;
}

static int
dm_pread (void *handle, void *buffer, uint32_t count, uint64_t offset,
          uint32_t flags)
{
  struct timer timer = begin_request (handle, LATENCY_READ);

  (void) flags;
  return end_request (&timer, read_bytes (handle, buffer, count, offset));
}

static int
dm_pwrite (void *handle, const void *buffer, uint32_t count, uint64_t offset,
           uint32_t flags)
{
  struct timer timer = begin_request (handle, LATENCY_WRITE);
  struct volume_device *d = handle;
  const char *p = buffer;
  uint64_t left = count;
  struct range_hold hold;
  int r = 0;

  if (count == 0)
    return 0;
  hold_bytes (d, &hold, offset, count);
  while (left > 0 && r == 0) {
    struct part part = first_part (offset, left);

    r = part.is_whole ? target_write (d->target, p, part.sector, part.count,
                                      bdev_flags_of (flags))
                      : modify_sector (d, &part, p, bdev_flags_of (flags));
    p += part.bytes;
    offset += part.bytes;
    left -= part.bytes;
  }
  range_lock_release (&d->range_lock, &hold);
  return end_request (&timer, r);
}

static int
dm_flush (void *handle, uint32_t flags)
{
  struct timer timer = begin_request (handle, LATENCY_FLUSH);
  struct volume_device *d = handle;

  (void) flags;
  return end_request (&timer, target_flush (d->target));
}

/* Zero the whole sectors of a piece, which come first so that "not fast"
 * can be said before anything has changed, and then its ends.
 */
static int
zero_piece_held (struct volume_device *d, uint64_t offset, uint64_t bytes,
                 unsigned flags)
{
  uint64_t whole = round_up_to (offset, SECTOR_SIZE);
  uint64_t end = offset + bytes;
  int r = 0;

  if (whole < end && end - whole >= SECTOR_SIZE)
    r = target_zero (d->target, whole >> SECTOR_SHIFT,
                     (end - whole) >> SECTOR_SHIFT, flags);
  while (r == 0 && offset < end) {
    struct part part = first_part (offset, end - offset);

    if (!part.is_whole)
      r = modify_sector (d, &part, NULL, flags);
    offset += part.bytes;
  }
  return r;
}

static int
zero_bytes (struct volume_device *d, uint64_t offset, uint64_t bytes,
            unsigned flags)
{
  int r = 0;

  while (bytes > 0 && r == 0) {
    /* Pieces end where sectors do, but for the last. */
    uint64_t piece = MIN_OF (bytes, (uint64_t) ZERO_PIECE_BYTES -
                                      offset % SECTOR_SIZE);
    struct range_hold hold;

    hold_bytes (d, &hold, offset, piece);
    r = zero_piece_held (d, offset, piece, flags);
    range_lock_release (&d->range_lock, &hold);
    flags &= ~BDEV_FAST; /* what is half done must be finished */
    offset += piece;
    bytes -= piece;
  }
  return r;
}

static int
dm_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct timer timer = begin_request (handle, LATENCY_ZERO);

  return end_request (&timer, zero_bytes (handle, offset, count,
                                          bdev_flags_of (flags)));
}

/* What is trimmed reads as zeroes, on every leg the same.  Where legs
 * cannot give space back, trimming does nothing: it is only a hint.
 */
static int
dm_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct timer timer = begin_request (handle, LATENCY_TRIM);
  int r = zero_bytes (handle, offset, count,
                      bdev_flags_of (flags) | BDEV_UNMAP | BDEV_FAST);

  return end_request (&timer, r == -EOPNOTSUPP ? 0 : r);
}

static int
dm_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
            struct nbdkit_extents *extents)
{
  struct volume_device *d = handle;
  uint64_t end = offset + MIN_OF (count, MAX_EXTENTS_BYTES);
  sector_t sector = offset >> SECTOR_SHIFT;
  sector_t left = div_round_up (end, SECTOR_SIZE) - sector;

  pace_note_request (d->pace);
  while (left > 0) {
    struct bdev_extent extent;
    uint64_t begin = sector_to_bytes (sector);
    uint64_t length;
    int r = target_extent (d->target, sector, left, &extent);

    if (r < 0)
      return result_of (r);
    /* Only what was asked for: see MAX_EXTENTS_BYTES. */
    length = sector_to_bytes (extent.count);
    if (begin < offset) {
      length -= offset - begin;
      begin = offset;
    }
    length = MIN_OF (length, end - begin);
    if (nbdkit_add_extent (extents, begin, length,
                           extent.is_hole
                             ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO
                             : 0) == -1)
      return -1;
    if (flags & NBDKIT_FLAG_REQ_ONE)
      break;
    sector += extent.count;
    left -= extent.count;
  }
  return 0;
}

/* Read ahead: what is read stays in the page cache of the leg. */
static int
dm_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct volume_device *d = handle;
  char scratch[65536];
  int r = 0;

  (void) flags;
  pace_note_request (d->pace);
  while (count > 0 && r == 0) {
    uint32_t n = MIN_OF (count, (uint32_t) sizeof scratch);

    r = read_bytes (handle, scratch, n, offset);
    offset += n;
    count -= n;
  }
  return result_of (r);
}

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct nbdkit_plugin plugin = {
  .name = "dm",
  .longname = "nbdkit device-mapper plugin: mirror and snapshots",
  .version = PACKAGE_VERSION,
  .description = "A mirror of files or disks, with snapshots, in user space",
  .load = dm_load,
  .unload = dm_unload,
  .config = dm_config,
  .config_complete = dm_config_complete,
  .config_help = config_help,
  .magic_config_key = "leg",
  .get_ready = dm_get_ready,
  .after_fork = dm_after_fork,
  .cleanup = dm_cleanup,
  .dump_plugin = dm_dump_plugin,
  .list_exports = dm_list_exports,
  .default_export = dm_default_export,
  .open = dm_open,
  .close = dm_close,
  .export_description = dm_export_description,
  .get_size = dm_get_size,
  .block_size = dm_block_size,
  .can_write = dm_can_write,
  .can_flush = dm_yes,
  .can_trim = dm_yes,
  .can_zero = dm_yes,
  .can_fast_zero = dm_yes,
  .can_extents = dm_yes,
  .can_multi_conn = dm_yes,
  .can_fua = dm_can_fua,
  .can_cache = dm_can_cache,
  .pread = dm_pread,
  .pwrite = dm_pwrite,
  .flush = dm_flush,
  .zero = dm_zero,
  .trim = dm_trim,
  .extents = dm_extents,
  .cache = dm_cache,
};

/* nbdkit-plugin.h leaves this function, made by the macro below, undeclared. */
struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
