/* JSON faster than jansson: a writer of the same text, and memory.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * jansson keeps a hash table of the pointers that it has gone through, as
 * text, and asks for memory again and again.  A manifest is written so
 * often here that this took half of the time.  What is not simple is left to
 * jansson; and one text in so many is compared with jansson's.
 *
 * What jansson asks for lives shortly: its memory is taken from one block
 * piece by piece, and all of that is free again when the last piece is.
 */

#include <config.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "json-sim.h"
#include "sim.h"

#define MAX_TEXT ((size_t) 64 * 1024)
#define MAX_KEYS 32
#define MAX_DEPTH 8
#define COMPARED_ONE_IN 128U
#define KNOWN_FLAGS \
  ((size_t) (JSON_COMPACT | JSON_SORT_KEYS | JSON_INDENT (31)))

struct writer {
  char *at;
  const char *end;
  size_t flags;
  unsigned depth;
};

static bool write_value (struct writer *w, const json_t *value);

char *__real_json_dumps (const json_t *json, size_t flags);
char *__wrap_json_dumps (const json_t *json, size_t flags);

static inline bool
has_room (const struct writer *w, size_t bytes)
{
  return bytes <= (size_t) (w->end - w->at);
}

static inline bool
write_text (struct writer *w, const char *text, size_t length)
{
  if (!has_room (w, length))
    return false;
  memcpy (w->at, text, length);
  w->at += length;
  return true;
}

static inline bool
write_char (struct writer *w, char c)
{
  if (!has_room (w, 1))
    return false;
  *w->at++ = c;
  return true;
}

/* Without anything that must be escaped. */
static bool
write_string (struct writer *w, const char *text, size_t length)
{
  char *to = w->at;
  size_t i;

  if (!has_room (w, length + 2))
    return false;
  *to++ = '"';
  for (i = 0; i < length; ++i) {
    if (text[i] < ' ' || text[i] == '"' || text[i] == '\\')
      return false;
    *to++ = text[i];
  }
  *to++ = '"';
  w->at = to;
  return true;
}

static bool
write_integer (struct writer *w, json_int_t n)
{
  char digits[24], *p = digits + sizeof digits;
  uint64_t left = n < 0 ? -(uint64_t) n : (uint64_t) n;

  do
    *--p = (char) ('0' + left % 10);
  while ((left /= 10) > 0);
  if (n < 0)
    *--p = '-';
  return write_text (w, p, (size_t) (digits + sizeof digits - p));
}

/* What stands in front of a member, or of the closing bracket. */
static bool
write_gap (struct writer *w, bool is_first, bool is_last)
{
  unsigned width = (unsigned) (w->flags & JSON_INDENT (31));

  if (!is_first && !is_last && !write_char (w, ','))
    return false;
  if (width == 0)
    return is_first || is_last || (w->flags & JSON_COMPACT) != 0 ||
           write_char (w, ' ');
  if (!has_room (w, 1 + width * w->depth))
    return false;
  *w->at++ = '\n';
  memset (w->at, ' ', width * w->depth);
  w->at += width * w->depth;
  return true;
}

static bool
write_array (struct writer *w, const json_t *array)
{
  size_t count = json_array_size (array), i;

  if (!write_char (w, '['))
    return false;
  w->depth++;
  for (i = 0; i < count; ++i)
    if (!write_gap (w, i == 0, false) ||
        !write_value (w, json_array_get (array, i)))
      return false;
  w->depth--;
  return (count == 0 || write_gap (w, false, true)) && write_char (w, ']');
}

struct member {
  const char *key;
  const json_t *value;
};

static inline bool
comes_before (const char *a, const char *b)
{
  return a[0] != b[0] ? (unsigned char) a[0] < (unsigned char) b[0]
                      : strcmp (a, b) < 0;
}

/* Returns how many, or MAX_KEYS + 1 if there are more than that. */
static unsigned
list_members (struct writer *w, json_t *object, struct member *members)
{
  unsigned count = 0, i;
  void *it;

  for (it = json_object_iter (object); it != NULL;
       it = json_object_iter_next (object, it)) {
    struct member m = { json_object_iter_key (it),
                        json_object_iter_value (it) };

    if (count == MAX_KEYS)
      return MAX_KEYS + 1;
    i = count++;
    if (w->flags & JSON_SORT_KEYS)
      for (; i > 0 && comes_before (m.key, members[i - 1].key); --i)
        members[i] = members[i - 1];
    members[i] = m;
  }
  return count;
}

static bool
write_object (struct writer *w, const json_t *object)
{
  struct member members[MAX_KEYS];
  unsigned count = list_members (w, (json_t *) (uintptr_t) object, members), i;
  bool is_compact = (w->flags & JSON_COMPACT) != 0;

  if (count > MAX_KEYS || !write_char (w, '{'))
    return false;
  w->depth++;
  for (i = 0; i < count; ++i)
    if (!write_gap (w, i == 0, false) ||
        !write_string (w, members[i].key, strlen (members[i].key)) ||
        !write_text (w, ": ", is_compact ? 1 : 2) ||
        !write_value (w, members[i].value))
      return false;
  w->depth--;
  return (count == 0 || write_gap (w, false, true)) && write_char (w, '}');
}

/* False if it is left to jansson. */
static bool
write_value (struct writer *w, const json_t *value)
{
  if (w->depth > MAX_DEPTH)
    return false;
  switch (json_typeof (value)) {
  case JSON_OBJECT:
    return write_object (w, value);
  case JSON_ARRAY:
    return write_array (w, value);
  case JSON_STRING:
    return write_string (w, json_string_value (value),
                         json_string_length (value));
  case JSON_INTEGER:
    return write_integer (w, json_integer_value (value));
  case JSON_TRUE:
    return write_text (w, "true", 4);
  case JSON_FALSE:
    return write_text (w, "false", 5);
  case JSON_NULL:
    return write_text (w, "null", 4);
  case JSON_REAL:
  default:
    return false;
  }
}

/*----- memory ----------------------------------------------------------*/

#define ARENA_BYTES ((size_t) 1 << 20)

static union {
  char bytes[ARENA_BYTES];
  max_align_t align;
} arena;

/* The address sanitizer sees more in memory of its own. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ARENA false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ARENA false
#endif
#endif
#ifndef HAS_ARENA
#define HAS_ARENA true
#endif

static size_t arena_used;
static unsigned arena_blocks;

static void *
arena_get (size_t bytes)
{
  size_t rounded = (bytes + 15) & ~(size_t) 15;
  void *block = arena.bytes + arena_used;

  if (!HAS_ARENA || rounded > ARENA_BYTES - arena_used)
    return malloc (bytes);
  arena_used += rounded;
  arena_blocks++;
  return block;
}

static void
arena_put (void *block)
{
  char *at = block;

  if (at < arena.bytes || at >= arena.bytes + ARENA_BYTES) {
    free (block);
    return;
  }
  if (--arena_blocks == 0)
    arena_used = 0;
}

void
sim_json_begin (void)
{
  /* The order of members must not depend on chance. */
  json_object_seed (1);
  json_set_alloc_funcs (arena_get, arena_put);
}

void
sim_json_end_seed (void)
{
  if (arena_blocks > 0)
    sim_fail ("%u blocks of JSON's memory were not freed", arena_blocks);
}

/*----- the call --------------------------------------------------------*/

/* As jansson writes it, in memory that free takes. */
static char *
write_slowly (const json_t *json, size_t flags)
{
  char *text = __real_json_dumps (json, flags), *copy;

  if (text == NULL)
    return NULL;
  copy = strdup (text);
  if (copy == NULL)
    abort ();
  arena_put (text);
  return copy;
}

char *
__wrap_json_dumps (const json_t *json, size_t flags)
{
  static char buffer[MAX_TEXT];
  static unsigned calls;
  struct writer w = { .at = buffer, .end = buffer + MAX_TEXT, .flags = flags };
  char *text;

  if (json == NULL || (flags & ~KNOWN_FLAGS) != 0 ||
      !(json_is_object (json) || json_is_array (json)) ||
      !write_value (&w, json) || !write_char (&w, '\0'))
    return write_slowly (json, flags);
  if (calls++ % COMPARED_ONE_IN == 0) {
    text = write_slowly (json, flags);
    if (text == NULL || strcmp (text, buffer) != 0)
      sim_fail ("jansson writes %s, and the simulator %s", text, buffer);
    return text;
  }
  text = malloc ((size_t) (w.at - buffer));
  if (text == NULL)
    abort ();
  return memcpy (text, buffer, (size_t) (w.at - buffer));
}
