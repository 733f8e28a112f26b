/* The manifest: the volume's durable memory of its legs and snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A JSON object.  Its checksum is the CRC-32 of its compact form with
 * sorted keys and without the checksum itself, so that it does not depend
 * on the layout.  Everything read is checked before it is believed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <jansson.h>

#include "bits.h"
#include "log-sink.h"
#include "manifest.h"

#define MANIFEST_VERSION 1
#define MANIFEST_MAX_BYTES (4U << 20)

static const char *const leg_states[] = {
  [LEG_IN_SYNC] = "insync",
  [LEG_RECOVERING] = "recovering",
  [LEG_FAILED] = "failed",
  [LEG_MISSING] = "missing",
};

static const char *const logs[] = {
  [MANIFEST_LOG_NONE] = "none",
  [MANIFEST_LOG_DISK] = "disk",
  [MANIFEST_LOG_FAILED] = "failed",
};

static const char *const snapshot_states[] = {
  [SNAPSHOT_CREATING] = "creating", [SNAPSHOT_VALID] = "valid",
  [SNAPSHOT_INVALID] = "invalid",   [SNAPSHOT_REMOVING] = "removing",
  [SNAPSHOT_MERGING] = "merging",   [SNAPSHOT_STAGING] = "staging",
};

/*----- the structure ---------------------------------------------------*/

struct manifest *
manifest_new (void)
{
  return calloc (1, sizeof (struct manifest));
}

static void
free_snapshot (struct manifest_snapshot *s)
{
  free (s->name);
  free (s->store);
  free (s->created);
  free (s->reason);
}

void
manifest_free (struct manifest *manifest)
{
  unsigned i;

  if (manifest == NULL)
    return;
  for (i = 0; i < manifest->leg_count; ++i) {
    free (manifest->legs[i].spec);
    free (manifest->legs[i].identity);
    free (manifest->legs[i].reason);
  }
  for (i = 0; i < manifest->snapshot_count; ++i)
    free_snapshot (&manifest->snapshots[i]);
  free (manifest->snapshots);
  free (manifest);
}

int
manifest_set_text (char **member, const char *text)
{
  char *copy = NULL;

  if (text != NULL) {
    copy = strdup (text);
    if (copy == NULL)
      return -ENOMEM;
  }
  free (*member);
  *member = copy;
  return 0;
}

struct manifest_snapshot *
manifest_add_snapshot (struct manifest *manifest)
{
  unsigned n = manifest->snapshot_count;
  struct manifest_snapshot *p;

  if (n == MANIFEST_MAX_SNAPSHOTS)
    return NULL;
  p = realloc (manifest->snapshots, (n + 1) * sizeof *p);
  if (p == NULL)
    return NULL;
  manifest->snapshots = p;
  p[n] = (struct manifest_snapshot){ 0 };
  manifest->snapshot_count++;
  return &p[n];
}

void
manifest_remove_snapshot (struct manifest *manifest, unsigned index)
{
  free_snapshot (&manifest->snapshots[index]);
  manifest->snapshot_count--;
  memmove (&manifest->snapshots[index], &manifest->snapshots[index + 1],
           (manifest->snapshot_count - index) * sizeof manifest->snapshots[0]);
}

int
manifest_find_snapshot (const struct manifest *manifest, const char *name)
{
  unsigned i;

  for (i = 0; i < manifest->snapshot_count; ++i)
    if (strcmp (manifest->snapshots[i].name, name) == 0)
      return (int) i;
  return -1;
}

int
manifest_find_store (const struct manifest *manifest, const char *store)
{
  unsigned i;

  for (i = 0; i < manifest->snapshot_count; ++i)
    if (strcmp (manifest->snapshots[i].store, store) == 0)
      return (int) i;
  return -1;
}

bool
snapshot_name_is_valid (const char *name)
{
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_-.";
  size_t length = strlen (name);

  return length > 0 && length <= SNAPSHOT_NAME_MAX &&
         strspn (name, allowed) == length && name[0] != '.' && name[0] != '-' &&
         strstr (name, "..") == NULL;
}

/*----- writing ---------------------------------------------------------*/

/* The text of ROOT; NULL: no memory.  jansson can leave out a member, and
 * not say so, when it runs out of memory in the middle: so it is asked
 * twice.
 */
static char *
dump (const json_t *root, size_t flags)
{
  char *text = json_dumps (root, flags);
  char *again = json_dumps (root, flags);

  if (text != NULL && (again == NULL || strcmp (text, again) != 0)) {
    free (text);
    text = NULL;
  }
  free (again);
  return text;
}

static int
compute_checksum (const json_t *root, uint32_t *checksum)
{
  char *text = dump (root, JSON_COMPACT | JSON_SORT_KEYS);

  if (text == NULL)
    return -ENOMEM;
  *checksum = (uint32_t) crc32 (crc32 (0, NULL, 0), (const Bytef *) text,
                                (uInt) strlen (text));
  free (text);
  return 0;
}

static json_t *
encode_leg (const struct manifest_leg *leg)
{
  return json_pack ("{s:s, s:s, s:s, s:s, s:s?}", "spec", leg->spec, "identity",
                    leg->identity, "modified", leg->stamp, "state",
                    leg_states[leg->state], "reason", leg->reason);
}

static json_t *
encode_snapshot (const struct manifest_snapshot *s)
{
  return json_pack ("{s:s, s:s, s:I, s:s, s:b, s:s, s:s?}", "name", s->name,
                    "store", s->store, "chunk_size",
                    (json_int_t) s->chunk_bytes, "created", s->created,
                    "read_only", (int) s->is_read_only, "state",
                    snapshot_states[s->state], "reason", s->reason);
}

/* NULL: no memory. */
static json_t *
encode_manifest (const struct manifest *m)
{
  json_t *legs = json_array (), *snapshots = json_array (), *root;
  uint32_t checksum;
  unsigned i;

  /* json_array_append_new fails on NULL, and takes what it is given. */
  for (i = 0; i < m->leg_count; ++i)
    if (json_array_append_new (legs, encode_leg (&m->legs[i])) == -1)
      goto err_free_arrays;
  for (i = 0; i < m->snapshot_count; ++i)
    if (json_array_append_new (snapshots, encode_snapshot (&m->snapshots[i])) ==
        -1)
      goto err_free_arrays;
  root = json_pack ("{s:i, s:I, s:I, s:I, s:b, s:b, s:s, s:o, s:i, s:o}",
                    "version", MANIFEST_VERSION, "generation",
                    (json_int_t) m->generation, "size",
                    (json_int_t) m->size_bytes, "region_size",
                    (json_int_t) m->region_bytes, "clean", (int) m->is_clean,
                    "resyncing", (int) m->is_resyncing, "log", logs[m->log],
                    "legs", legs, "primary", (int) m->primary, "snapshots",
                    snapshots);
  if (root == NULL)
    return NULL;
  if (compute_checksum (root, &checksum) < 0 ||
      json_object_set_new (root, "checksum",
                           json_integer ((json_int_t) checksum)) == -1) {
    json_decref (root);
    return NULL;
  }
  return root;

err_free_arrays:
  json_decref (legs);
  json_decref (snapshots);
  return NULL;
}

int
manifest_save (struct meta_dir *dir, const struct manifest *manifest)
{
  json_t *root = encode_manifest (manifest);
  char *text, *line;
  int r;

  if (root == NULL)
    return -ENOMEM;
  text = dump (root, JSON_INDENT (2));
  json_decref (root);
  if (text == NULL)
    return -ENOMEM;
  r = asprintf (&line, "%s\n", text);
  free (text);
  if (r == -1)
    return -ENOMEM;
  r = meta_dir_replace_file (dir, MANIFEST_FILE, line, strlen (line));
  free (line);
  return r;
}

/*----- reading ---------------------------------------------------------*/

/* A text that stands for one of COUNT numbers. */
static int
decode_name (const char *text, const char *const *names, int count)
{
  int i;

  for (i = 0; i < count; ++i)
    if (strcmp (names[i], text) == 0)
      return i;
  return -EINVAL;
}

static int
decode_leg (json_t *json, struct manifest_leg *leg)
{
  const char *spec, *identity, *stamp, *state, *reason;
  int n;

  if (json_unpack (json, "{s:s, s:s, s:s, s:s}", "spec", &spec, "identity",
                   &identity, "modified", &stamp, "state", &state) == -1 ||
      strlen (stamp) >= sizeof leg->stamp)
    return -EINVAL;
  strcpy (leg->stamp, stamp);
  reason = json_string_value (json_object_get (json, "reason"));
  n = decode_name (state, leg_states, ARRAY_COUNT (leg_states));
  if (n < 0 || spec[0] == '\0')
    return -EINVAL;
  leg->state = (enum leg_state) n;
  if (manifest_set_text (&leg->spec, spec) < 0 ||
      manifest_set_text (&leg->identity, identity) < 0 ||
      manifest_set_text (&leg->reason, reason) < 0)
    return -ENOMEM;
  return 0;
}

/* A store is a file of the folder, and none of the others in it: it is removed
 * when the snapshot goes.
 */
static bool
store_name_is_valid (const char *store)
{
  char name[SNAPSHOT_NAME_MAX + sizeof MANIFEST_STORE_SUFFIX];
  size_t length = strlen (store);

  if (length >= sizeof name || length < strlen (MANIFEST_STORE_SUFFIX))
    return false;
  strcpy (name, store);
  length -= strlen (MANIFEST_STORE_SUFFIX);
  if (strcmp (name + length, MANIFEST_STORE_SUFFIX) != 0)
    return false;
  name[length] = '\0';
  return snapshot_name_is_valid (name);
}

static bool
is_merging (const struct manifest *m)
{
  unsigned i;

  for (i = 0; i < m->snapshot_count; ++i)
    if (m->snapshots[i].state == SNAPSHOT_MERGING)
      return true;
  return false;
}

static int
decode_snapshot (json_t *json, struct manifest *m)
{
  const char *name, *store, *created, *state, *reason;
  struct manifest_snapshot *s;
  json_int_t chunk;
  int read_only, n;

  if (json_unpack (json, "{s:s, s:s, s:I, s:s, s:b, s:s}", "name", &name,
                   "store", &store, "chunk_size", &chunk, "created", &created,
                   "read_only", &read_only, "state", &state) == -1)
    return -EINVAL;
  reason = json_string_value (json_object_get (json, "reason"));
  n = decode_name (state, snapshot_states, ARRAY_COUNT (snapshot_states));
  /* The name becomes an export's and the store a file's: neither may lead
   * out of the folder.
   */
  if (n < 0 || !snapshot_name_is_valid (name) || !store_name_is_valid (store) ||
      chunk <= 0 || manifest_find_snapshot (m, name) >= 0 ||
      manifest_find_store (m, store) >= 0 ||
      (n == SNAPSHOT_MERGING && is_merging (m)))
    return -EINVAL;
  s = manifest_add_snapshot (m);
  if (s == NULL)
    return -ENOMEM;
  /* A name first: the list must never have one without. */
  s->state = (enum manifest_snapshot_state) n;
  s->chunk_bytes = (uint64_t) chunk;
  s->is_read_only = read_only != 0;
  if (manifest_set_text (&s->name, name) < 0 ||
      manifest_set_text (&s->store, store) < 0 ||
      manifest_set_text (&s->created, created) < 0 ||
      manifest_set_text (&s->reason, reason) < 0)
    return -ENOMEM;
  return 0;
}

/* Absent in what earlier versions have written. */
static int
decode_log (const json_t *json, struct manifest *m)
{
  int n = MANIFEST_LOG_NONE;

  if (json != NULL)
    n = json_is_string (json)
          ? decode_name (json_string_value (json), logs, ARRAY_COUNT (logs))
          : -EINVAL;
  if (n < 0)
    return -EINVAL;
  m->log = (enum manifest_log) n;
  return 0;
}

static int
decode_members (json_t *root, struct manifest *m)
{
  json_int_t generation, size, region, primary;
  json_t *legs, *snapshots, *item;
  int clean, resyncing;
  size_t i;
  int r;

  if (json_unpack (root, "{s:I, s:I, s:I, s:b, s:b, s:o, s:I, s:o}",
                   "generation", &generation, "size", &size, "region_size",
                   &region, "clean", &clean, "resyncing", &resyncing, "legs",
                   &legs, "primary", &primary, "snapshots", &snapshots) == -1 ||
      !json_is_array (legs) || !json_is_array (snapshots) || generation < 0 ||
      size <= 0 || region <= 0 || (uint64_t) size % SECTOR_SIZE != 0 ||
      (uint64_t) region % SECTOR_SIZE != 0 ||
      !is_power_of_2 ((uint64_t) region) || json_array_size (legs) == 0 ||
      json_array_size (legs) > MIRROR_MAX_LEGS || primary < 0 ||
      (size_t) primary >= json_array_size (legs) ||
      json_array_size (snapshots) > MANIFEST_MAX_SNAPSHOTS ||
      decode_log (json_object_get (root, "log"), m) < 0)
    return -EINVAL;
  m->generation = (uint64_t) generation;
  m->size_bytes = (uint64_t) size;
  m->region_bytes = (uint64_t) region;
  m->is_clean = clean != 0;
  m->is_resyncing = resyncing != 0;
  m->primary = (unsigned) primary;
  json_array_foreach (legs, i, item) {
    m->leg_count++;
    r = decode_leg (item, &m->legs[i]);
    if (r < 0)
      return r;
  }
  json_array_foreach (snapshots, i, item) {
    r = decode_snapshot (item, m);
    if (r < 0)
      return r;
  }
  return 0;
}

/* True if ROOT carries the right checksum; takes it out. */
static bool
checksum_is_right (json_t *root)
{
  const json_t *member = json_object_get (root, "checksum");
  json_int_t stored = json_integer_value (member);
  uint32_t computed;

  if (!json_is_integer (member))
    return false;
  if (json_object_del (root, "checksum") == -1 ||
      compute_checksum (root, &computed) < 0)
    return false;
  return stored == (json_int_t) computed;
}

#define DAMAGED_REMEDY \
  "restore it from a copy of the folder; to begin anew with the legs as " \
  "they are, move the folder away and say which leg to trust by naming it " \
  "first"

static int
decode_manifest (const char *path, json_t *root, struct manifest *m)
{
  json_t *version = json_object_get (root, "version");
  int r;

  if (!json_is_integer (version)) {
    log_error ("%s/%s: is not a manifest; " DAMAGED_REMEDY, path,
               MANIFEST_FILE);
    return -EINVAL;
  }
  if (json_integer_value (version) != MANIFEST_VERSION) {
    log_error ("%s/%s: has version %" JSON_INTEGER_FORMAT
               ", only version %d is known; use the program that wrote it",
               path, MANIFEST_FILE, json_integer_value (version),
               MANIFEST_VERSION);
    return -EINVAL;
  }
  if (!checksum_is_right (root)) {
    log_error ("%s/%s: is damaged, its checksum is wrong; " DAMAGED_REMEDY,
               path, MANIFEST_FILE);
    return -EINVAL;
  }
  r = decode_members (root, m);
  if (r == -EINVAL)
    log_error ("%s/%s: a member is missing or makes no sense; " DAMAGED_REMEDY,
               path, MANIFEST_FILE);
  return r;
}

int
manifest_load (struct meta_dir *dir, struct manifest **manifest)
{
  const char *path = meta_dir_path (dir);
  struct manifest *m;
  json_error_t error;
  json_t *root;
  size_t length;
  char *text;
  int r;

  r = meta_dir_read_file (dir, MANIFEST_FILE, MANIFEST_MAX_BYTES, &text,
                          &length);
  if (r < 0) {
    if (r == -EINVAL)
      log_error ("%s/%s: is not a regular file; " DAMAGED_REMEDY, path,
                 MANIFEST_FILE);
    else if (r == -EFBIG)
      log_error ("%s/%s: is too large for a manifest; " DAMAGED_REMEDY, path,
                 MANIFEST_FILE);
    else if (r != -ENOENT)
      log_error ("%s/%s: cannot be read: %s; check its mode and owner", path,
                 MANIFEST_FILE, errno_text (r));
    return r;
  }
  root = json_loadb (text, length, JSON_REJECT_DUPLICATES, &error);
  free (text);
  if (root == NULL) {
    log_error ("%s/%s: line %d: %s; " DAMAGED_REMEDY, path, MANIFEST_FILE,
               error.line, error.text);
    return -EINVAL;
  }
  m = manifest_new ();
  r = m == NULL ? -ENOMEM : decode_manifest (path, root, m);
  json_decref (root);
  if (r < 0) {
    manifest_free (m);
    return r;
  }
  *manifest = m;
  return 0;
}
