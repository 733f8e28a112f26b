/* JSON-RPC 2.0: a line in, a call of a method, a line out.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Of the standard two things are left out: an array of requests (a line is
 * one request; lines may follow each other without waiting), and parameters
 * by position.  Both are refused by name.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log-sink.h"
#include "rpc.h"
#include "size-text.h"

#define MESSAGE_BYTES 512

/*----- lines out -------------------------------------------------------*/

/* VALUE as a line; its reference is taken. */
static char *
line_of (json_t *value)
{
  char *text = value != NULL ? json_dumps (value, JSON_COMPACT) : NULL;
  size_t length;
  char *line;

  json_decref (value);
  if (text == NULL)
    return NULL;
  length = strlen (text);
  line = realloc (text, length + 2);
  if (line == NULL) {
    free (text);
    return NULL;
  }
  memcpy (line + length, "\n", 2);
  return line;
}

static json_t *
id_of (const json_t *id)
{
  return id != NULL ? json_deep_copy (id) : json_null ();
}

/* TEXT with a question mark for all that is not ASCII. */
static void
plain_text (const char *text, char plain[LOG_MESSAGE_BYTES])
{
  size_t i;

  for (i = 0; text[i] != '\0' && i + 1 < LOG_MESSAGE_BYTES; ++i)
    plain[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
  plain[i] = '\0';
}

static char *
error_line (const json_t *id, int code, const char *message, json_t *data)
{
  json_t *error = json_pack ("{s:i, s:s}", "code", code, "message", message);

  if (error == NULL) { /* what it quotes is not UTF-8 */
    char plain[LOG_MESSAGE_BYTES];

    plain_text (message, plain);
    error = json_pack ("{s:i, s:s}", "code", code, "message", plain);
  }
  if (data != NULL && json_object_set_new (error, "data", data) == -1) {
    json_decref (error);
    return NULL;
  }
  return line_of (json_pack ("{s:s, s:o, s:o}", "jsonrpc", "2.0", "error",
                             error, "id", id_of (id)));
}

char *
rpc_error_line (int code, const char *message)
{
  return error_line (NULL, code, message, NULL);
}

char *
rpc_notification (const char *method, json_t *params)
{
  return line_of (json_pack ("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method",
                             method, "params", params));
}

/* The symbol of an errno, such as EBUSY. */
static json_t *
errno_data (int r)
{
  const char *name = strerrorname_np (-r);

  return json_pack ("{s:i, s:s}", "errno", -r, "name",
                    name != NULL ? name : "unknown");
}

char *
rpc_answer (const struct rpc_request *request, int r,
            const struct rpc_result *result)
{
  if (request->id == NULL || r < 0)
    json_decref (result->value);
  if (request->id == NULL)
    return NULL;
  if (r < 0)
    return error_line (request->id, RPC_REFUSED,
                       result->why[0] != '\0' ? result->why : errno_text (r),
                       errno_data (r));
  if (result->value == NULL)
    return error_line (request->id, RPC_INTERNAL_ERROR, "out of memory", NULL);
  return line_of (json_pack ("{s:s, s:o, s:o}", "jsonrpc", "2.0", "result",
                             result->value, "id", id_of (request->id)));
}

/*----- a line in -------------------------------------------------------*/

/* Is it nested too deeply?  Brackets outside strings are counted, so that the
 * parser is not asked to go deep.
 */
static bool
text_is_too_deep (const char *text, size_t length)
{
  bool in_string = false;
  unsigned depth = 0;
  size_t i;

  for (i = 0; i < length; ++i) {
    if (in_string) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        in_string = false;
    }
    else if (text[i] == '"')
      in_string = true;
    else if ((text[i] == '{' || text[i] == '[') && ++depth > RPC_MAX_DEPTH)
      return true;
    else if ((text[i] == '}' || text[i] == ']') && depth > 0)
      --depth;
  }
  return false;
}

static const char *
type_text (enum rpc_type type)
{
  switch (type) {
  case RPC_STRING:
    return "a string";
  case RPC_NUMBER:
    return "a number, not negative";
  case RPC_BOOL:
    return "true or false";
  case RPC_SIZE:
    return "a size, such as 65536 or \"64K\"";
  }
  return "";
}

static bool
is_of_type (const json_t *value, enum rpc_type type)
{
  uint64_t bytes;

  switch (type) {
  case RPC_STRING:
    return json_is_string (value) &&
           strlen (json_string_value (value)) == json_string_length (value);
  case RPC_NUMBER:
    return json_is_integer (value) && json_integer_value (value) >= 0;
  case RPC_BOOL:
    return json_is_boolean (value);
  case RPC_SIZE:
    return json_is_string (value)
             ? size_parse (json_string_value (value), &bytes)
             : json_is_integer (value) && json_integer_value (value) >= 0;
  }
  return false;
}

static const struct rpc_param *
find_param (const struct rpc_method *method, const char *name)
{
  const struct rpc_param *p;

  for (p = method->params; p->name != NULL; ++p)
    if (strcmp (p->name, name) == 0)
      return p;
  return NULL;
}

/* Are they those that METHOD takes?  Else say what is wrong. */
static bool
check_params (const struct rpc_method *method, const json_t *params,
              char message[MESSAGE_BYTES])
{
  const struct rpc_param *p;
  const char *name;
  json_t *value;

  if (params != NULL && !json_is_object (params)) {
    (void) snprintf (message, MESSAGE_BYTES,
                     "%s: params must be an object; parameters go by name",
                     method->name);
    return false;
  }
  json_object_foreach ((json_t *) params, name, value) {
    p = find_param (method, name);
    if (p == NULL) {
      (void) snprintf (message, MESSAGE_BYTES,
                       "%s: there is no parameter '%.80s'; 'methods' lists "
                       "them",
                       method->name, name);
      return false;
    }
    if (!is_of_type (value, p->type)) {
      (void) snprintf (message, MESSAGE_BYTES, "%s: '%s' must be %s",
                       method->name, p->name, type_text (p->type));
      return false;
    }
  }
  for (p = method->params; p->name != NULL; ++p) {
    if (p->is_required && json_object_get (params, p->name) == NULL) {
      (void) snprintf (message, MESSAGE_BYTES, "%s: needs '%s': %s",
                       method->name, p->name, p->text);
      return false;
    }
  }
  return true;
}

static int
refuse (const json_t *id, int code, const char *message, char **answer)
{
  *answer = error_line (id, code, message, NULL);
  return code;
}

/* What kind of request is ROOT?  Fills REQUEST but for the root. */
static int
read_request (json_t *root, const struct rpc_method *methods,
              struct rpc_request *request, char **answer)
{
  char message[MESSAGE_BYTES];
  const json_t *id, *version, *name;
  bool is_silent;

  if (json_is_array (root))
    return refuse (NULL, RPC_INVALID_REQUEST,
                   "batches are not supported; send one request a line",
                   answer);
  if (!json_is_object (root))
    return refuse (NULL, RPC_INVALID_REQUEST, "a request must be an object",
                   answer);
  id = json_object_get (root, "id");
  if (id != NULL && !json_is_string (id) && !json_is_integer (id) &&
      !json_is_null (id))
    return refuse (NULL, RPC_INVALID_REQUEST,
                   "'id' must be a string or an integer", answer);
  version = json_object_get (root, "jsonrpc");
  if (!json_is_string (version) ||
      strcmp (json_string_value (version), "2.0") != 0)
    return refuse (id, RPC_INVALID_REQUEST, "'jsonrpc' must be \"2.0\"",
                   answer);
  name = json_object_get (root, "method");
  if (!json_is_string (name))
    return refuse (id, RPC_INVALID_REQUEST, "'method' must be a string",
                   answer);
  is_silent = id == NULL;
  for (; methods->name != NULL; ++methods)
    if (strcmp (methods->name, json_string_value (name)) == 0)
      break;
  if (methods->name == NULL) {
    (void) snprintf (message, sizeof message,
                     "there is no method '%.80s'; 'methods' lists them",
                     json_string_value (name));
    return is_silent ? RPC_METHOD_NOT_FOUND
                     : refuse (id, RPC_METHOD_NOT_FOUND, message, answer);
  }
  if (!check_params (methods, json_object_get (root, "params"), message))
    return is_silent ? RPC_INVALID_PARAMS
                     : refuse (id, RPC_INVALID_PARAMS, message, answer);
  request->id = id;
  request->method = methods;
  request->params = json_object_get (root, "params");
  return 0;
}

int
rpc_parse (const char *line, size_t length, const struct rpc_method *methods,
           struct rpc_request *request, char **answer)
{
  char message[MESSAGE_BYTES];
  json_error_t error;
  json_t *root;
  int r;

  memset (request, 0, sizeof *request);
  *answer = NULL;
  if (text_is_too_deep (line, length))
    return refuse (NULL, RPC_PARSE_ERROR, "is nested too deeply", answer);
  root = json_loadb (line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                     &error);
  if (root == NULL) {
    (void) snprintf (message, sizeof message, "is not JSON: %s", error.text);
    return refuse (NULL, RPC_PARSE_ERROR, message, answer);
  }
  r = read_request (root, methods, request, answer);
  if (r != 0) {
    json_decref (root);
    memset (request, 0, sizeof *request);
    return r;
  }
  request->root = root;
  return 0;
}

void
rpc_request_free (struct rpc_request *request)
{
  json_decref (request->root);
  memset (request, 0, sizeof *request);
}

/*----- parameters ------------------------------------------------------*/

const char *
rpc_string (const json_t *params, const char *name, const char *otherwise)
{
  const json_t *value = json_object_get (params, name);

  return value != NULL ? json_string_value (value) : otherwise;
}

bool
rpc_bool (const json_t *params, const char *name, bool otherwise)
{
  const json_t *value = json_object_get (params, name);

  return value != NULL ? json_is_true (value) : otherwise;
}

uint64_t
rpc_number (const json_t *params, const char *name, uint64_t otherwise)
{
  const json_t *value = json_object_get (params, name);

  if (value == NULL)
    return otherwise;
  if (json_is_string (value))
    (void) size_parse (json_string_value (value), &otherwise);
  else
    otherwise = (uint64_t) json_integer_value (value);
  return otherwise;
}

/*----- the table, told -------------------------------------------------*/

static const char *
type_word (enum rpc_type type)
{
  static const char *const words[] = {
    [RPC_STRING] = "string",
    [RPC_NUMBER] = "number",
    [RPC_BOOL] = "boolean",
    [RPC_SIZE] = "size",
  };

  return words[type];
}

json_t *
rpc_describe (const struct rpc_method *methods)
{
  json_t *all = json_array ();

  for (; methods->name != NULL; ++methods) {
    const struct rpc_param *p;
    json_t *params = json_array ();

    for (p = methods->params; p->name != NULL; ++p)
      (void) json_array_append_new (params,
                                    json_pack ("{s:s, s:s, s:b, s:s}", "name",
                                               p->name, "type",
                                               type_word (p->type), "required",
                                               p->is_required, "text",
                                               p->text));
    if (json_array_append_new (all,
                               json_pack ("{s:s, s:s, s:o}", "name",
                                          methods->name, "text", methods->text,
                                          "params", params)) == -1) {
      json_decref (all);
      return NULL;
    }
  }
  return all;
}
