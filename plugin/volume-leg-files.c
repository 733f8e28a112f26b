/* Whether the files of the legs are still where the next start looks for them.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A file that is deleted, renamed, or replaced by another of its name goes on
 * working, and is gone when the server stops: so somebody must be told while
 * it can still be copied.  Nothing tells us, so a thread looks at the names
 * every now and then, and soon after somebody has asked how the volume is.
 * It runs only where somebody can ask.
 *
 * What there is under the name now is not opened, and nothing is done about it:
 * a leg is known by its identity, not by its name (volume-trust.c,
 * volume-admin-legs.c), so another file of that name is never taken for it.
 *
 * Locks: the watcher's is a leaf.  The thread looks with none, since a file
 * system that hangs would hold up administrators; it copies under admin_lock
 * what to look for, and tells what it has found under that, if the leg is still
 * the same.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "leg-file.h"
#include "log-sink.h"
#include "volume-impl.h"

/* It looks at least so often. */
#define LOOK_NS (10 * NS_PER_SECOND)

void
volume_set_leg_file (struct volume *v, unsigned leg)
{
  struct block_device *bdev = mirror_leg_bdev (v->mirror, leg);
  struct volume_leg_file *file = &v->leg_files[leg];

  memset (file, 0, sizeof *file);
  if (bdev_identity (bdev, &file->id) < 0)
    return; /* a server, or it is missing */
  (void) leg_file_identity (bdev, file->identity);
  /* Where names do not lead to what was opened nothing can be told by them. */
  file->is_known = leg_file_place (v->leg_paths[leg], &file->id) ==
                   LEG_FILE_THERE;
}

/* What to look for: a copy of leg LEG's path, or NULL if there is nothing. */
static char *
get_path (struct volume *v, unsigned leg, struct volume_leg_file *file)
{
  struct mirror_status status;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  mirror_get_status (v->mirror, &status);
  if (leg >= status.leg_count || !v->leg_files[leg].is_known ||
      (status.legs[leg].state != LEG_IN_SYNC &&
       status.legs[leg].state != LEG_RECOVERING))
    return NULL;
  *file = v->leg_files[leg];
  return strdup (v->leg_paths[leg]); /* no memory: the next time */
}

static void
look_at_leg (struct volume *v, unsigned leg)
{
  struct volume_leg_file file;
  char *path = get_path (v, leg, &file);
  enum leg_file_place place;

  if (path == NULL)
    return;
  place = leg_file_place (path, &file.id);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (v->leg_paths[leg] != NULL && strcmp (v->leg_paths[leg], path) == 0 &&
      v->leg_files[leg].id.device == file.id.device &&
      v->leg_files[leg].id.inode == file.id.inode)
    volume_note_leg_file (v, leg, place);
  free (path);
}

static void
watch_main (void *arg)
{
  struct volume *v = arg;
  struct leg_watcher *w = &v->watcher;
  unsigned leg;

  mutex_lock (&w->lock);
  while (!w->must_stop) {
    uint64_t next_ns = clock_now_ns () + LOOK_NS;

    w->is_asked = false;
    mutex_unlock (&w->lock);
    for (leg = 0; leg < MIRROR_MAX_LEGS; ++leg)
      look_at_leg (v, leg);
    mutex_lock (&w->lock);
    while (!w->must_stop && !w->is_asked && clock_now_ns () < next_ns)
      (void) cond_wait_until (&w->wake, &w->lock, next_ns);
  }
  mutex_unlock (&w->lock);
}

void
volume_ask_for_leg_files (struct volume *v)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->watcher.lock);
  v->watcher.is_asked = true;
  cond_signal (&v->watcher.wake);
}

/*----- life ------------------------------------------------------------*/

void
volume_start_watching (struct volume *volume)
{
  struct leg_watcher *w = &volume->watcher;
  int r;

  w->must_stop = false;
  r = thread_start (&w->thread, "dm-watch", watch_main, volume);
  if (r < 0) {
    log_warning ("the thread that looks if legs have been deleted cannot be "
                 "started: %s; it is not told if they are",
                 errno_text (r));
    return;
  }
  w->is_running = true;
}

void
volume_stop_watching (struct volume *volume)
{
  struct leg_watcher *w = &volume->watcher;

  if (!w->is_running)
    return;
  mutex_lock (&w->lock);
  w->must_stop = true;
  cond_signal (&w->wake);
  mutex_unlock (&w->lock);
  thread_join (&w->thread);
  w->is_running = false;
}
