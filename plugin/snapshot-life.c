/* A snapshot's life: opening, moving in the chain, leaving it, its end.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States, beside those of snapshot.c:
 *   SERVING -> LEAVING [snapshot_leave]: takes no chunk and no request, and
 *                      is what older snapshots read through
 *   LEAVING -> CLOSED  [snapshot_close]: nobody reads through it; what is
 *                      left is a name and -EIO, for clients that have not
 *                      gone
 *
 * Why snapshot_switch_origin waits: a reader of this snapshot that reads
 * chunk C in the old origin is known to this snapshot and to the old origin,
 * but not to what has been put in between.  A copy of C there would not
 * wait for that reader, and the chunk would be overwritten under him.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "snapshot-impl.h"

/*----- names -----------------------------------------------------------*/

const char *
snapshot_keep_name (struct snapshot *snapshot, const char *name)
{
  size_t bytes = strlen (name) + 1;
  struct label *label = malloc (sizeof *label + bytes);

  if (label == NULL)
    return NULL;
  memcpy (label->text, name, bytes);
  label->next = snapshot->labels;
  snapshot->labels = label;
  return label->text;
}

void
snapshot_set_name (struct snapshot *snapshot, const char *kept)
{
  atomic_store (&snapshot->name, kept);
}

const char *
snapshot_name (const struct snapshot *snapshot)
{
  return atomic_load (&snapshot->name);
}

static void
free_labels (struct snapshot *s)
{
  while (s->labels != NULL) {
    struct label *next = s->labels->next;

    free (s->labels);
    s->labels = next;
  }
}

/*----- the next newer device -------------------------------------------*/

int
snapshot_origin_create (struct target *target, struct snapshot_origin **origin)
{
  struct snapshot_origin *o = calloc (1, sizeof *o);
  int r;

  if (o == NULL)
    return -ENOMEM;
  o->target = target;
  r = target_bdev_create (target, &o->bdev);
  if (r < 0) {
    free (o);
    return r;
  }
  *origin = o;
  return 0;
}

void
snapshot_origin_destroy (struct snapshot_origin *origin)
{
  if (origin == NULL)
    return;
  assert (origin->users == 0);
  bdev_close (origin->bdev);
  free (origin);
}

void
snapshot_switch_origin (struct snapshot *snapshot,
                        struct snapshot_origin *origin)
{
  struct snapshot_origin *old;

  mutex_lock (&snapshot->lock);
  old = snapshot->origin;
  snapshot->origin = origin;
  while (old->users > 0)
    cond_wait (&snapshot->changed, &snapshot->lock);
  mutex_unlock (&snapshot->lock);
  snapshot_origin_destroy (old);
}

struct target *
snapshot_origin_target (struct snapshot *snapshot)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&snapshot->lock);
  return snapshot->origin->target;
}

/*----- opening ---------------------------------------------------------*/

static int
load_exception (void *opaque, const struct exception *exception)
{
  struct snapshot *s = opaque;
  uint64_t chunk = exception->old_chunk;
  int r = exception_table_insert (s->table, chunk, exception->new_chunk);

  if (r == 0)
    s->safe[chunk / 64] |= UINT64_C (1) << chunk % 64;
  return r;
}

/* Open the store and make the tables that its chunk size asks for. */
static int
open_store (struct snapshot *s, sector_t transient_chunk_sectors)
{
  int r;

  s->is_transient = transient_chunk_sectors > 0;
  r = s->is_transient
        ? exception_store_open_transient (s->cow, transient_chunk_sectors,
                                          &s->store)
        : exception_store_open (s->cow, s->view.sectors, &s->store);
  if (r < 0)
    return r;
  s->chunk_sectors = exception_store_chunk_sectors (s->store);
  s->chunk_shift = log2_of (s->chunk_sectors);
  s->chunk_count = div_round_up (s->view.sectors, s->chunk_sectors);
  s->can_be_full = bdev_sectors (s->cow) <
                   exception_store_full_size (exception_store_kind (s->store),
                                              s->view.sectors,
                                              s->chunk_sectors);
  if (!exception_store_is_valid (s->store))
    atomic_store (&s->is_broken, true);

  r = exception_table_create (s->chunk_count, &s->table);
  if (r < 0)
    goto err_close_store;
  s->safe = calloc (s->chunk_count / 64 + 1, sizeof s->safe[0]);
  if (s->safe == NULL) {
    r = -ENOMEM;
    goto err_destroy_table;
  }
  r = s->is_transient ? 0 : exception_store_load (s->store, load_exception, s);
  if (r < 0)
    goto err_free_safe;
  return 0;

err_free_safe:
  free (s->safe);
err_destroy_table:
  exception_table_destroy (s->table);
err_close_store:
  exception_store_close (s->store);
  return r;
}

int
snapshot_open (const struct snapshot_params *params, struct snapshot **snapshot)
{
  struct snapshot *s = calloc (1, sizeof *s);
  unsigned i;
  int r;

  if (s == NULL)
    return -ENOMEM;
  s->target.ops = &snapshot_ops;
  s->target.sectors = params->sectors > 0 ? params->sectors
                                          : params->origin->sectors;
  s->view.ops = &snapshot_view_ops;
  s->view.sectors = params->origin->sectors;
  s->references = 1;
  s->is_read_only = params->is_read_only;
  s->is_broken = !params->is_valid;
  s->on_cow_error = params->on_cow_error;
  s->broken = params->broken;
  s->opaque = params->opaque;
  s->cow = params->cow;
  atomic_store (&s->name, snapshot_keep_name (s, params->name));
  if (s->labels == NULL) {
    r = -ENOMEM;
    goto err_free_snapshot;
  }
  r = snapshot_origin_create (params->origin, &s->origin);
  if (r < 0)
    goto err_free_labels;
  r = open_store (s, params->transient_chunk_sectors);
  if (r < 0)
    goto err_destroy_origin;

  mutex_init (&s->break_lock);
  mutex_init (&s->lock);
  cond_init (&s->changed);
  for (i = 0; i < PENDING_BUCKETS; ++i)
    list_init (&s->pending[i]);
  list_init (&s->tracked);
  *snapshot = s;
  return 0;

err_destroy_origin:
  snapshot_origin_destroy (s->origin);
err_free_labels:
  free_labels (s);
err_free_snapshot:
  free (s);
  return r;
}

void
snapshot_set_below (struct snapshot *snapshot, struct snapshot *below)
{
  snapshot->below = below;
}

struct snapshot *
snapshot_get_below (struct snapshot *snapshot)
{
  return snapshot->below;
}

void
snapshot_set_kcopyd (struct snapshot *snapshot, struct kcopyd_client *kcopyd)
{
  snapshot->kcopyd = kcopyd;
}

/*----- leaving ---------------------------------------------------------*/

void
snapshot_request_end (struct snapshot *s)
{
  if (atomic_fetch_sub (&s->requests, 1) > 1 || !atomic_load (&s->is_leaving))
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  cond_broadcast (&s->changed);
}

void
snapshot_leave (struct snapshot *snapshot)
{
  /* Nobody is breaking it: whoever comes later finds it done. */
  mutex_lock (&snapshot->break_lock);
  mutex_lock (&snapshot->lock);
  atomic_store (&snapshot->is_leaving, true);
  mutex_unlock (&snapshot->lock);
  atomic_store (&snapshot->is_broken, true);
  mutex_unlock (&snapshot->break_lock);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&snapshot->lock);
  while (atomic_load (&snapshot->requests) > 0 || snapshot->pending_count > 0)
    cond_wait (&snapshot->changed, &snapshot->lock);
}

/* The first run of chunks in the store at or behind *CHUNK, which is moved
 * there; its length, at most MAX.  0: there is none.
 */
static uint64_t
find_run (struct snapshot *s, uint64_t *chunk, uint64_t max)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  while (*chunk < s->chunk_count) {
    struct exception_run run = exception_table_lookup (s->table, *chunk,
                                                       s->chunk_count - *chunk);

    if (run.is_mapped)
      return MIN_OF (run.count, max);
    *chunk += run.count;
  }
  return 0;
}

/* True if S has all of a range. */
static bool
has_all (struct snapshot *s, sector_t sector, sector_t count)
{
  uint64_t chunk = snapshot_chunk_of (s, sector);
  uint64_t last = snapshot_chunk_of (s, sector + count - 1);

  while (chunk <= last && snapshot_chunk_is_safe (s, chunk))
    chunk++;
  return chunk > last;
}

int
snapshot_hand_down (struct snapshot *snapshot, uint64_t *chunk, uint64_t *bytes)
{
  uint64_t max = MAX_OF (HAND_DOWN_BYTES >> SECTOR_SHIFT >>
                           snapshot->chunk_shift,
                         1);
  uint64_t count = find_run (snapshot, chunk, max);
  sector_t begin, end;
  int r;

  assert (atomic_load (&snapshot->is_leaving));
  *bytes = 0;
  if (count == 0 || snapshot->below == NULL)
    return 0;
  begin = *chunk << snapshot->chunk_shift;
  end = MIN_OF ((*chunk + count) << snapshot->chunk_shift,
                snapshot->view.sectors);
  if (!has_all (snapshot->below, begin, end - begin))
    *bytes = sector_to_bytes (end - begin);
  /* Nobody's write is at stake, so none of them is lost for it. */
  r = snapshot_preserve_or_fail (snapshot->below, begin, end - begin);
  if (r < 0)
    return r;
  *chunk += count;
  return 1;
}

/*----- the end ---------------------------------------------------------*/

struct snapshot *
snapshot_get (struct snapshot *snapshot)
{
  atomic_fetch_add (&snapshot->references, 1);
  return snapshot;
}

void
snapshot_put (struct snapshot *snapshot)
{
  if (atomic_fetch_sub (&snapshot->references, 1) > 1)
    return;
  cond_destroy (&snapshot->changed);
  mutex_destroy (&snapshot->lock);
  mutex_destroy (&snapshot->break_lock);
  free_labels (snapshot);
  free (snapshot);
}

void
snapshot_close (struct snapshot *snapshot)
{
  unsigned i;

  if (snapshot == NULL)
    return;
  snapshot_leave (snapshot);
  assert (list_is_empty (&snapshot->tracked));
  for (i = 0; i < PENDING_BUCKETS; ++i)
    assert (list_is_empty (&snapshot->pending[i]));
  exception_store_close (snapshot->store);
  exception_table_destroy (snapshot->table);
  free (snapshot->safe);
  snapshot_origin_destroy (snapshot->origin);
  bdev_close (snapshot->cow);
  snapshot_put (snapshot);
}

/*----- looking ---------------------------------------------------------*/

struct target *
snapshot_target (struct snapshot *snapshot)
{
  return &snapshot->target;
}

struct target *
snapshot_view (struct snapshot *snapshot)
{
  return &snapshot->view;
}

bool
snapshot_is_valid (struct snapshot *snapshot)
{
  return !atomic_load (&snapshot->is_broken);
}

bool
snapshot_is_read_only (const struct snapshot *snapshot)
{
  return snapshot->is_read_only;
}

int
snapshot_store_error (struct snapshot *snapshot)
{
  return exception_store_error (snapshot->store);
}

uint64_t
snapshot_room (struct snapshot *snapshot)
{
  return snapshot->can_be_full ? exception_store_room (snapshot->store)
                               : UINT64_MAX;
}

void
snapshot_get_status (struct snapshot *snapshot, struct snapshot_status *status)
{
  struct exception_store_usage usage;

  exception_store_get_usage (snapshot->store, &usage);
  status->chunk_sectors = snapshot->chunk_sectors;
  status->used_sectors = usage.used_sectors;
  status->store_sectors = usage.total_sectors;
  status->metadata_sectors = usage.metadata_sectors;
  status->refused_writes = atomic_load (&snapshot->refused_writes);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&snapshot->lock);
  status->chunks = exception_table_count (snapshot->table);
}
