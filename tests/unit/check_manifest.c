/* Unit tests of the manifest.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <sys/wait.h>
#include <zlib.h>

#include <jansson.h>

#include "fault-alloc.h"
#include "manifest.h"
#include "meta-test.h"

/*----- one with everything in it ---------------------------------------*/

static void
set (char **member, const char *text)
{
  ck_assert_int_eq (manifest_set_text (member, text), 0);
}

static struct manifest *
make_manifest (void)
{
  struct manifest *m = manifest_new ();
  struct manifest_snapshot *s;
  unsigned i;

  ck_assert_ptr_nonnull (m);
  m->generation = 42;
  m->size_bytes = UINT64_C (1) << 40;
  m->region_bytes = 2 << 20;
  m->is_clean = true;
  m->primary = 1;
  m->log = MANIFEST_LOG_DISK;
  m->leg_count = 4; /* of each state one */
  for (i = 0; i < 4; ++i) {
    m->legs[i].state = (enum leg_state) i;
    set (&m->legs[i].spec, i == 1 ? "/with \"quotes\"\n" : "/a/b.img");
    set (&m->legs[i].identity, "file 1:2");
  }
  set (&m->legs[2].reason, "write of 512 bytes at 0 failed");
  for (i = 0; i < 3; ++i) {
    char name[16];

    s = manifest_add_snapshot (m);
    ck_assert_ptr_nonnull (s);
    (void) snprintf (name, sizeof name, "snap-%u", i);
    set (&s->name, name);
    (void) snprintf (name, sizeof name, "snap-%u.cow", i);
    set (&s->store, name);
    set (&s->created, "2024-05-06T07:08:09Z");
    s->chunk_bytes = 4096U << i;
    s->is_read_only = i == 1;
    s->state = (enum manifest_snapshot_state) i;
  }
  set (&m->snapshots[2].reason, "the COW store is full");
  return m;
}

static void
assert_same_text (const char *a, const char *b)
{
  if (b == NULL)
    ck_assert_ptr_null (a);
  else
    ck_assert_str_eq (a, b);
}

static void
assert_same (const struct manifest *a, const struct manifest *b)
{
  unsigned i;

  ck_assert_uint_eq (a->generation, b->generation);
  ck_assert_uint_eq (a->size_bytes, b->size_bytes);
  ck_assert_uint_eq (a->region_bytes, b->region_bytes);
  ck_assert (a->is_clean == b->is_clean);
  ck_assert_uint_eq (a->primary, b->primary);
  ck_assert_int_eq (a->log, b->log);
  ck_assert_uint_eq (a->leg_count, b->leg_count);
  for (i = 0; i < a->leg_count; ++i) {
    ck_assert_int_eq (a->legs[i].state, b->legs[i].state);
    assert_same_text (a->legs[i].spec, b->legs[i].spec);
    assert_same_text (a->legs[i].identity, b->legs[i].identity);
    assert_same_text (a->legs[i].reason, b->legs[i].reason);
  }
  ck_assert_uint_eq (a->snapshot_count, b->snapshot_count);
  for (i = 0; i < a->snapshot_count; ++i) {
    const struct manifest_snapshot *x = &a->snapshots[i];
    const struct manifest_snapshot *y = &b->snapshots[i];

    assert_same_text (x->name, y->name);
    assert_same_text (x->store, y->store);
    assert_same_text (x->created, y->created);
    assert_same_text (x->reason, y->reason);
    ck_assert_uint_eq (x->chunk_bytes, y->chunk_bytes);
    ck_assert (x->is_read_only == y->is_read_only);
    ck_assert_int_eq (x->state, y->state);
  }
}

/* The text of a saved manifest; the caller frees. */
static char *
saved_text (struct meta_dir *dir, const struct manifest *m, size_t *length)
{
  char *text;

  ck_assert_int_eq (manifest_save (dir, m), 0);
  ck_assert_int_eq (meta_dir_read_file (dir, MANIFEST_FILE, 1 << 22, &text,
                                        length),
                    0);
  return text;
}

START_TEST (what_is_saved_is_loaded)
{
  struct manifest *m = make_manifest (), *loaded;
  struct meta_dir *dir;
  struct meta_test t;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (manifest_load (dir, &loaded), -ENOENT);
  watch_calls (-1);
  ck_assert_int_eq (manifest_save (dir, m), 0);
  ck_assert_str_eq (calls_text, "fsync file, rename volume.json.new "
                                "volume.json, fsync dir");
  ck_assert_int_eq (manifest_load (dir, &loaded), 0);
  assert_same (loaded, m);
  manifest_free (loaded);
  m->is_clean = false;
  m->log = MANIFEST_LOG_FAILED;
  m->generation = INT64_MAX;
  while (m->snapshot_count > 0)
    manifest_remove_snapshot (m, 0);
  ck_assert_int_eq (manifest_save (dir, m), 0);
  ck_assert_int_eq (manifest_load (dir, &loaded), 0);
  assert_same (loaded, m);
  manifest_free (loaded);
  manifest_free (m);
  manifest_free (NULL);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (a_failed_save_leaves_the_old_one)
{
  struct manifest *m = make_manifest (), *loaded;
  struct meta_dir *dir;
  struct meta_test t;
  int fail;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (manifest_save (dir, m), 0);
  m->generation++;
  for (fail = 0; fail < 2; ++fail) {
    watch_calls (fail);
    ck_assert_int_eq (manifest_save (dir, m), -EIO);
    watch_calls (-1);
    ck_assert_int_eq (manifest_load (dir, &loaded), 0);
    ck_assert_uint_eq (loaded->generation, 42);
    manifest_free (loaded);
  }
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/*----- the list --------------------------------------------------------*/

START_TEST (snapshots_are_found_and_removed)
{
  struct manifest *m = make_manifest ();
  unsigned i;

  ck_assert_int_eq (manifest_find_snapshot (m, "snap-0"), 0);
  ck_assert_int_eq (manifest_find_snapshot (m, "snap-2"), 2);
  ck_assert_int_eq (manifest_find_snapshot (m, "snap"), -1);
  ck_assert_int_eq (manifest_find_snapshot (m, ""), -1);
  manifest_remove_snapshot (m, 1);
  ck_assert_uint_eq (m->snapshot_count, 2);
  ck_assert_int_eq (manifest_find_snapshot (m, "snap-1"), -1);
  ck_assert_int_eq (manifest_find_snapshot (m, "snap-2"), 1);
  for (i = 2; i < MANIFEST_MAX_SNAPSHOTS; ++i)
    if (manifest_add_snapshot (m) == NULL)
      ck_abort_msg ("%u", i);
  ck_assert_ptr_null (manifest_add_snapshot (m));
  ck_assert_uint_eq (m->snapshot_count, MANIFEST_MAX_SNAPSHOTS);
  manifest_free (m);
}
END_TEST

#define NAME_64 \
  "0123456789012345678901234567890123456789012345678901234567890123"

START_TEST (names_are_harmless)
{
  static const char *const good[] = { "a",  "A.b", "_",    "0-9",
                                      "a.", "a-.", NAME_64 };
  static const char *const bad[] = { "",    ".",   "..",  "-a",   ".a",
                                     "a..", "a/b", "/",   "a b",  "a\n",
                                     "a\\", "%s",  "a:b", "\xff", NAME_64 "4" };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (good); ++i)
    ck_assert_msg (snapshot_name_is_valid (good[i]), "%s", good[i]);
  for (i = 0; i < ARRAY_COUNT (bad); ++i)
    ck_assert_msg (!snapshot_name_is_valid (bad[i]), "%s", bad[i]);
}
END_TEST

/*----- damage ----------------------------------------------------------*/

/* Load what is there: refused, and said so by name. */
static void
assert_refused (struct meta_dir *dir, const char *what)
{
  struct manifest *m = NULL;

  capture_messages ();
  if (manifest_load (dir, &m) != -EINVAL)
    ck_abort_msg ("%s", what);
  if (!was_said ("/volume.json: "))
    ck_abort_msg ("%s: %s", what, captured_text);
}

START_TEST (a_truncated_manifest_is_refused)
{
  struct manifest *m = make_manifest ();
  struct meta_dir *dir;
  struct meta_test t;
  size_t length, n;
  char *text;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  text = saved_text (dir, m, &length);
  /* All but the last newline is needed. */
  for (n = 0; n + 1 < length; ++n) {
    put_file (&t, MANIFEST_FILE, text, n);
    assert_refused (dir, "truncated");
  }
  free (text);
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (a_flipped_bit_is_refused)
{
  struct manifest *m = make_manifest ();
  struct meta_dir *dir;
  struct meta_test t;
  size_t length, bit;
  char *text, what[40];

  meta_test_create (&t);
  dir = meta_test_open (&t);
  text = saved_text (dir, m, &length);
  for (bit = 0; bit < 8 * (length - 1); ++bit) {
    text[bit / 8] = (char) (text[bit / 8] ^ 1 << bit % 8);
    put_file (&t, MANIFEST_FILE, text, length);
    (void) snprintf (what, sizeof what, "bit %zu", bit);
    assert_refused (dir, what);
    text[bit / 8] = (char) (text[bit / 8] ^ 1 << bit % 8);
  }
  free (text);
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* Give ROOT the checksum that it should have, and put it there. */
static void
put_root (const struct meta_test *t, json_t *root)
{
  char *text;

  (void) json_object_del (root, "checksum");
  text = json_dumps (root, JSON_COMPACT | JSON_SORT_KEYS);
  ck_assert_ptr_nonnull (text);
  ck_assert_int_eq (json_object_set_new (root, "checksum",
                                         json_integer ((json_int_t) crc32 (
                                           crc32 (0, NULL, 0), (Bytef *) text,
                                           (uInt) strlen (text)))),
                    0);
  free (text);
  text = json_dumps (root, 0);
  put_file (t, MANIFEST_FILE, text, strlen (text));
  free (text);
}

/* A member is PATH ("legs" 0 "state" is "legs/0/state"); VALUE is JSON, or
 * NULL to leave it out.
 */
static void
change_member (json_t *root, const char *path, const char *value)
{
  json_t *new = value != NULL ? json_loads (value, JSON_DECODE_ANY, NULL)
                              : NULL;
  char copy[100], *name = copy, *slash;
  json_t *at = root;

  (void) snprintf (copy, sizeof copy, "%s", path);
  while ((slash = strchr (name, '/')) != NULL) {
    *slash = '\0';
    at = json_is_array (at) ? json_array_get (at, (size_t) atoi (name))
                            : json_object_get (at, name);
    name = slash + 1;
  }
  ck_assert_ptr_nonnull (at);
  if (value == NULL)
    ck_assert_int_eq (json_object_del (at, name), 0);
  else {
    ck_assert_ptr_nonnull (new);
    ck_assert_int_eq (json_object_set_new (at, name, new), 0);
  }
}

#define LEG "{\"spec\":\"a\",\"identity\":\"\",\"state\":\"insync\"}"

START_TEST (senseless_members_are_refused)
{
  static const struct {
    const char *path, *value;
  } changes[] = {
    { "generation", NULL },
    { "generation", "-1" },
    { "generation", "\"1\"" },
    { "size", NULL },
    { "size", "0" },
    { "size", "-512" },
    { "size", "1000" },
    { "size", "1e9" },
    { "region_size", NULL },
    { "region_size", "0" },
    { "region_size", "1536" },
    { "region_size", "256" },
    { "clean", NULL },
    { "clean", "1" },
    { "legs", NULL },
    { "legs", "[]" },
    { "legs", "{}" },
    { "legs", "[1]" },
    { "legs", "[" LEG "," LEG "," LEG "," LEG "," LEG "," LEG "," LEG "," LEG
              "," LEG "," LEG "]" },
    { "legs/0/spec", NULL },
    { "legs/0/spec", "\"\"" },
    { "legs/0/spec", "7" },
    { "log", "\"\"" },
    { "log", "\"Disk\"" },
    { "log", "7" },
    { "log", "null" },
    { "primary", "4" },
    { "primary", "-1" },
    { "primary", "\"0\"" },
    { "legs/1/identity", NULL },
    { "legs/1/state", NULL },
    { "legs/2/state", "\"fine\"" },
    { "snapshots", NULL },
    { "snapshots", "7" },
    { "snapshots", "[7]" },
    { "snapshots/0/name", NULL },
    { "snapshots/0/name", "\"\"" },
    { "snapshots/0/name", "\"../x\"" },
    { "snapshots/0/name", "\"snap-1\"" },
    { "snapshots/0/store", NULL },
    { "snapshots/0/store", "\"\"" },
    { "snapshots/0/store", "\"../s\"" },
    { "snapshots/0/store", "\"/etc/passwd\"" },
    { "snapshots/0/store", "\".\"" },
    { "snapshots/0/store", "\".cow\"" },
    { "snapshots/0/store", "\"snap-0\"" },
    { "snapshots/0/store", "\"snap-2.cow\"" },
    { "snapshots/0/store", "\"volume.json\"" },
    { "snapshots/0/store", "\"dirty.log\"" },
    { "snapshots/0/store", "\"a b.cow\"" },
    { "snapshots/0/store",
      "\"x0123456789012345678901234567890123456789012345678901234567890123.cow"
      "\"" },
    { "snapshots/1/chunk_size", "0" },
    { "snapshots/1/chunk_size", "-4096" },
    { "snapshots/1/read_only", NULL },
    { "snapshots/1/created", NULL },
    { "snapshots/2/state", "\"good\"" },
    { "snapshots/2/state", "2" },
  };
  struct manifest *m = make_manifest (), *loaded;
  struct meta_dir *dir;
  struct meta_test t;
  size_t length;
  unsigned i;
  char *text;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  text = saved_text (dir, m, &length);
  for (i = 0; i < ARRAY_COUNT (changes); ++i) {
    json_t *root = json_loads (text, 0, NULL);

    ck_assert_ptr_nonnull (root);
    /* As it is, it is right. */
    put_root (&t, root);
    ck_assert_int_eq (manifest_load (dir, &loaded), 0);
    manifest_free (loaded);
    change_member (root, changes[i].path, changes[i].value);
    put_root (&t, root);
    assert_refused (dir, changes[i].path);
    assert_said ("a member is missing or makes no sense");
    json_decref (root);
  }
  free (text);
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* The volume is rolled back to one at a time. */
START_TEST (two_cannot_be_merging)
{
  struct manifest *m = make_manifest (), *loaded;
  struct meta_dir *dir;
  struct meta_test t;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  m->snapshots[0].state = SNAPSHOT_MERGING;
  ck_assert_int_eq (manifest_save (dir, m), 0);
  ck_assert_int_eq (manifest_load (dir, &loaded), 0);
  manifest_free (loaded);
  m->snapshots[2].state = SNAPSHOT_MERGING;
  ck_assert_int_eq (manifest_save (dir, m), 0);
  assert_refused (dir, "two are merging");
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* Earlier versions know nothing of a log. */
START_TEST (a_manifest_without_a_log_has_none)
{
  struct manifest *m = make_manifest (), *loaded;
  struct meta_dir *dir;
  struct meta_test t;
  json_t *root;
  size_t length;
  char *text;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  text = saved_text (dir, m, &length);
  root = json_loads (text, 0, NULL);
  change_member (root, "log", NULL);
  put_root (&t, root);
  json_decref (root);
  ck_assert_int_eq (manifest_load (dir, &loaded), 0);
  ck_assert_int_eq (loaded->log, MANIFEST_LOG_NONE);
  m->log = MANIFEST_LOG_NONE;
  assert_same (loaded, m);
  manifest_free (loaded);
  manifest_free (m);
  free (text);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (what_is_no_manifest_of_ours_is_refused)
{
  static const struct {
    const char *text, *said;
  } texts[] = {
    { "", "line" },
    { "{", "line 1" },
    { "{}", "is not a manifest" },
    { "[]", "is not a manifest" },
    { "{\"version\":\"1\"}", "is not a manifest" },
    { "{\"version\":1}", "its checksum is wrong" },
    { "{\"version\":1,\"checksum\":\"x\"}", "its checksum is wrong" },
    { "{\"version\":2,\"checksum\":0}", "has version 2, only version 1" },
    { "{\"version\":1,\"version\":1}", "duplicate" },
  };
  char *big = test_alloc (5 << 20);
  struct manifest *m = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  unsigned i;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  for (i = 0; i < ARRAY_COUNT (texts); ++i) {
    put_file (&t, MANIFEST_FILE, texts[i].text, strlen (texts[i].text));
    assert_refused (dir, texts[i].text);
    assert_said (texts[i].said);
  }
  memset (big, ' ', 5 << 20);
  put_file (&t, MANIFEST_FILE, big, 5 << 20);
  capture_messages ();
  ck_assert_int_lt (manifest_load (dir, &m), 0);
  assert_said ("too large");
  free (big);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/*----- memory ----------------------------------------------------------*/

/* The library's memory fails, too. */
static void *
json_malloc (size_t bytes)
{
  return malloc (bytes);
}

static void
json_free (void *memory)
{
  free (memory);
}

/* Save M while allocation K fails, in a process of its own, because the
 * library may end the program.  Returns 0 if it was saved, without a
 * failure, 1 if it was, 2 if not, 3 if the program has ended.
 */
static int
save_without_memory (struct meta_dir *dir, const struct manifest *m, unsigned k)
{
  pid_t pid = fork ();
  int status;

  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    int r;

    (void) freopen ("/dev/null", "w", stderr);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = manifest_save (dir, m);
    _exit (fault_alloc_stop () == 0 ? (r == 0 ? 0 : 4) : r == 0 ? 1 : 2);
  }
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  return WIFEXITED (status) ? WEXITSTATUS (status) : 3;
}

/* Whatever fails, there is a manifest, the old one or the new one. */
START_TEST (want_of_memory_leaves_a_manifest)
{
  struct manifest *m, *loaded = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  int result = -1;
  unsigned k;

  json_set_alloc_funcs (json_malloc, json_free);
  m = make_manifest ();
  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (manifest_save (dir, m), 0);
  for (k = 0; result != 0; ++k) {
    m->generation++;
    result = save_without_memory (dir, m, k);
    ck_assert_int_lt (result, 4);
    ck_assert_msg (manifest_load (dir, &loaded) == 0, "after allocation %u", k);
    if (result == 2 || (result == 3 && loaded->generation < m->generation))
      m->generation--;
    assert_same (loaded, m);
    manifest_free (loaded);
  }
  ck_assert_uint_gt (k, 10);
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (want_of_memory_is_told)
{
  struct manifest *m = make_manifest (), *loaded = NULL;
  char *member = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  unsigned k, failed = 1;
  bool is_refused;
  int r;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (manifest_save (dir, m), 0);
  for (k = 0; failed > 0; ++k) {
    loaded = NULL;
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = manifest_load (dir, &loaded);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_gt (k, 10);
  assert_same (loaded, m);
  manifest_free (loaded);

  set (&member, "old");
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  r = manifest_set_text (&member, "new");
  loaded = manifest_new ();
  is_refused = manifest_add_snapshot (m) == NULL;
  (void) fault_alloc_stop ();
  ck_assert_int_eq (r, -ENOMEM);
  ck_assert_str_eq (member, "old");
  ck_assert_ptr_null (loaded);
  ck_assert (is_refused);
  ck_assert_uint_eq (m->snapshot_count, 3);
  set (&member, NULL);
  ck_assert_ptr_null (member);
  manifest_free (m);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    what_is_saved_is_loaded,
    a_failed_save_leaves_the_old_one,
    snapshots_are_found_and_removed,
    names_are_harmless,
    a_truncated_manifest_is_refused,
    a_flipped_bit_is_refused,
    senseless_members_are_refused,
    two_cannot_be_merging,
    a_manifest_without_a_log_has_none,
    what_is_no_manifest_of_ours_is_refused,
    want_of_memory_leaves_a_manifest,
    want_of_memory_is_told,
    NULL,
  };

  return unit_main ("manifest", tests);
}
