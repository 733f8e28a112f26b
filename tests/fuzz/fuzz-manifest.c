/* Fuzzer: any bytes as the manifest.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Input: a flag byte, and the file.  The folder is replaced by one that has
 * this file only.  With flag bit 0 every checksum is right, so that what is
 * behind that check is reached.  What is taken must make sense, and be
 * the same after it has been written and read again.
 */

#include <config.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "fuzz.h"
#include "manifest.h"

/*----- the folder ------------------------------------------------------*/

struct meta_dir {
  char *text;
  size_t length;
};

const char *
meta_dir_path (const struct meta_dir *dir)
{
  (void) dir;
  return "folder";
}

int
meta_dir_read_file (struct meta_dir *dir, const char *name, size_t max,
                    char **text, size_t *length)
{
  fuzz_assert (strcmp (name, MANIFEST_FILE) == 0);
  if (dir->length > max)
    return -EFBIG;
  *text = malloc (dir->length + 1);
  fuzz_assert (*text != NULL);
  memcpy (*text, dir->text, dir->length);
  (*text)[dir->length] = '\0';
  *length = dir->length;
  return 0;
}

int
meta_dir_replace_file (struct meta_dir *dir, const char *name, const char *text,
                       size_t length)
{
  fuzz_assert (strcmp (name, MANIFEST_FILE) == 0);
  free (dir->text);
  dir->text = malloc (length + 1);
  fuzz_assert (dir->text != NULL);
  memcpy (dir->text, text, length);
  dir->length = length;
  return 0;
}

/*----- the checksum ----------------------------------------------------*/

/* The linker gives these names to crc32 of zlib (--wrap). */
unsigned long __real_crc32 (unsigned long crc, const unsigned char *text,
                            unsigned length);
unsigned long __wrap_crc32 (unsigned long crc, const unsigned char *text,
                            unsigned length);

static bool is_forged;
static unsigned long forged_checksum;

unsigned long
__wrap_crc32 (unsigned long crc, const unsigned char *text, unsigned length)
{
  return is_forged ? forged_checksum : __real_crc32 (crc, text, length);
}

/* What the file says that its checksum is. */
static unsigned long
find_checksum (const struct meta_dir *dir)
{
  json_error_t error;
  json_t *root = json_loadb (dir->text, dir->length, 0, &error);
  json_int_t n = json_integer_value (json_object_get (root, "checksum"));

  json_decref (root);
  return (unsigned long) n & UINT32_MAX;
}

/*----- the fuzzer ------------------------------------------------------*/

static void
check_manifest (const struct manifest *m)
{
  unsigned i;

  fuzz_assert (m->leg_count >= 1 && m->leg_count <= MIRROR_MAX_LEGS);
  fuzz_assert (m->primary < m->leg_count);
  fuzz_assert (m->size_bytes > 0 && m->size_bytes % SECTOR_SIZE == 0);
  fuzz_assert (is_power_of_2 (m->region_bytes));
  fuzz_assert (m->snapshot_count <= MANIFEST_MAX_SNAPSHOTS);
  for (i = 0; i < m->leg_count; ++i)
    fuzz_assert (m->legs[i].spec[0] != '\0' && m->legs[i].identity != NULL);
  for (i = 0; i < m->snapshot_count; ++i) {
    const struct manifest_snapshot *s = &m->snapshots[i];

    fuzz_assert (snapshot_name_is_valid (s->name));
    fuzz_assert (manifest_find_snapshot (m, s->name) == (int) i);
    fuzz_assert (strchr (s->store, '/') == NULL && s->store[0] != '.');
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct manifest *m, *again;
  struct meta_dir dir;

  if (size < 1)
    return -1;
  dir.length = size - 1;
  dir.text = malloc (size);
  fuzz_assert (dir.text != NULL);
  memcpy (dir.text, data + 1, size - 1);
  is_forged = data[0] & 1;
  if (is_forged)
    forged_checksum = find_checksum (&dir);
  if (manifest_load (&dir, &m) == 0) {
    check_manifest (m);
    is_forged = false;
    fuzz_assert (manifest_save (&dir, m) == 0);
    fuzz_assert (manifest_load (&dir, &again) == 0);
    fuzz_assert (again->generation == m->generation &&
                 again->leg_count == m->leg_count &&
                 again->snapshot_count == m->snapshot_count &&
                 again->size_bytes == m->size_bytes);
    manifest_free (again);
    manifest_free (m);
  }
  free (dir.text);
  return 0;
}
