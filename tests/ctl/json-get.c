/* Prints a value of the JSON on its standard input.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   json-get PATH     a value, such as legs.1.state
 *   json-get --keys   the path of every value, a line each, with its type;
 *                     of an array that of its first member
 *
 * Exit status 1: there is no such value, or the input is not JSON.
 */

#include <config.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
type_of (const json_t *value)
{
  switch (json_typeof (value)) {
  case JSON_STRING:
    return "string";
  case JSON_INTEGER:
    return "integer";
  case JSON_REAL:
    return "real";
  case JSON_TRUE:
  case JSON_FALSE:
    return "boolean";
  case JSON_NULL:
    return "null";
  default:
    return "empty";
  }
}

static void
print_keys (const char *path, const json_t *value)
{
  char below[1024];
  const char *key;
  json_t *member;

  if (json_array_size (value) > 0) {
    (void) snprintf (below, sizeof below, "%s[]", path);
    print_keys (below, json_array_get (value, 0));
  }
  else if (json_object_size (value) == 0)
    printf ("%s %s\n", path, type_of (value));
  json_object_foreach ((json_t *) value, key, member) {
    (void) snprintf (below, sizeof below, "%s%s%s", path,
                     path[0] != '\0' ? "." : "", key);
    print_keys (below, member);
  }
}

static const json_t *
find (const json_t *value, char *path)
{
  char *part;

  for (part = strtok (path, "."); part != NULL && value != NULL;
       part = strtok (NULL, "."))
    value = json_is_array (value)
              ? json_array_get (value, strtoul (part, NULL, 10))
              : json_object_get (value, part);
  return value;
}

int
main (int argc, char *argv[])
{
  json_error_t error;
  json_t *root = json_loadf (stdin, JSON_REJECT_DUPLICATES, &error);
  const json_t *value;

  if (argc != 2) {
    fprintf (stderr, "usage: json-get PATH | --keys\n");
    return 2;
  }
  if (root == NULL) {
    fprintf (stderr, "json-get: line %d: %s\n", error.line, error.text);
    return EXIT_FAILURE;
  }
  if (strcmp (argv[1], "--keys") == 0) {
    print_keys ("", root);
    json_decref (root);
    return EXIT_SUCCESS;
  }
  value = find (root, argv[1]);
  if (value == NULL) {
    json_decref (root);
    return EXIT_FAILURE;
  }
  if (json_is_string (value))
    puts (json_string_value (value));
  else {
    (void) json_dumpf (value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    puts ("");
  }
  json_decref (root);
  return EXIT_SUCCESS;
}
