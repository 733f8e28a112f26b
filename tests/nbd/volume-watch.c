/* Reading DIR/volume.json of a running server, and waiting for it to change.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/inotify.h>

#include <jansson.h>

#include "volume-watch.h"

static json_t *
walk (json_t *root, const char *path)
{
  char *copy = strdup (path);
  char *save = NULL;
  json_t *at = root;

  if (copy == NULL)
    return NULL;
  for (char *w = strtok_r (copy, ".", &save); w != NULL && at != NULL;
       w = strtok_r (NULL, ".", &save)) {
    if (json_is_array (at))
      at = isdigit ((unsigned char) *w)
             ? json_array_get (at, strtoul (w, NULL, 10))
             : NULL;
    else
      at = json_object_get (at, w);
  }
  free (copy);
  return at;
}

static bool
all_in_sync (json_t *root)
{
  json_t *legs = json_object_get (root, "legs");
  json_t *leg;
  size_t i;

  json_array_foreach (legs, i, leg) {
    const char *state = json_string_value (json_object_get (leg, "state"));

    if (state == NULL || strcmp (state, "insync") != 0)
      return false;
  }
  /* After a crash legs that were in sync stay so, but have to be compared. */
  return json_array_size (legs) > 0 &&
         json_is_false (json_object_get (root, "resyncing"));
}

static int
to_text (json_t *json, char *value, size_t value_size)
{
  char *dump;

  if (json_is_string (json)) {
    snprintf (value, value_size, "%s", json_string_value (json));
    return 0;
  }
  dump = json_dumps (json, JSON_ENCODE_ANY | JSON_COMPACT);
  if (dump == NULL) {
    snprintf (value, value_size, "json_dumps failed");
    return -1;
  }
  snprintf (value, value_size, "%s", dump);
  free (dump);
  return 0;
}

int
volume_read (const char *dir, const char *path, char *value, size_t value_size)
{
  char name[4096];
  json_error_t error;
  json_t *root, *at;
  int r = 0;

  snprintf (name, sizeof name, "%s/volume.json", dir);
  root = json_load_file (name, 0, &error);
  if (root == NULL) {
    snprintf (value, value_size, "%s", error.text);
    return -1;
  }
  if (strcmp (path, "insync") == 0)
    snprintf (value, value_size, "%s", all_in_sync (root) ? "true" : "false");
  else {
    at = walk (root, path);
    if (at == NULL) {
      snprintf (value, value_size, "%s has no %s", name, path);
      r = -1;
    }
    else
      r = to_text (at, value, value_size);
  }
  json_decref (root);
  return r;
}

static long
now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (long) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
volume_wait (const char *dir, const char *path, const char *wanted,
             int timeout_ms)
{
  long end = now_ms () + timeout_ms;
  char value[1024];
  int fd, r = -1;

  /* The watch is set before the first look, so that no change is missed. */
  fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
  if (fd == -1 ||
      inotify_add_watch (fd, dir, IN_MOVED_TO | IN_CLOSE_WRITE) == -1) {
    fprintf (stderr, "inotify: %s: %s\n", dir, strerror (errno));
    goto out;
  }
  for (;;) {
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    char events[4096];
    long left = end - now_ms ();

    if (volume_read (dir, path, value, sizeof value) == 0 &&
        strcmp (value, wanted) == 0) {
      r = 0;
      goto out;
    }
    if (left <= 0)
      goto out;
    if (poll (&pfd, 1, (int) left) == -1 && errno != EINTR)
      goto out;
    while (read (fd, events, sizeof events) > 0)
      ;
  }
out:
  if (fd >= 0)
    close (fd);
  return r;
}
