/* Fuzzer: any bytes as a line on the control socket.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is taken must fit the table of methods; whatever comes, the answer is
 * one line of JSON, with the right id or none.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "rpc.h"

static int
no_call (void *context, const json_t *params, struct rpc_result *result)
{
  (void) context;
  (void) params;
  (void) result;
  __builtin_trap ();
}

static const struct rpc_method methods[] = {
  { .name = "status", .text = "Look.", .call = no_call },
  {
    .name = "snapshot.create",
    .text = "Take one.",
    .params = { { "name", RPC_STRING, true, "its name" },
                { "chunk_size", RPC_SIZE, false, "the unit" },
                { "read_only", RPC_BOOL, false, "no writes" },
                { "leg", RPC_NUMBER, false, "a number" } },
    .call = no_call,
  },
  { .name = NULL },
};

/* LINE is one line, and JSON; NULL is none. */
static json_t *
parse_line (const char *line)
{
  size_t length;
  json_t *value;

  if (line == NULL)
    return NULL;
  length = strlen (line);
  fuzz_assert (length > 1 && line[length - 1] == '\n');
  fuzz_assert (memchr (line, '\n', length - 1) == NULL);
  value = json_loads (line, 0, NULL);
  fuzz_assert (json_is_object (value));
  fuzz_assert (json_object_get (value, "id") != NULL);
  return value;
}

static void
check_params (const struct rpc_request *request)
{
  const json_t *params = request->params;

  if (strcmp (request->method->name, "status") == 0) {
    fuzz_assert (json_object_size (params) == 0);
    return;
  }
  fuzz_assert (rpc_string (params, "name", NULL) != NULL);
  fuzz_assert (rpc_number (params, "leg", 0) <= INT64_MAX);
  fuzz_assert (rpc_number (params, "chunk_size", 0) <= INT64_MAX);
  (void) rpc_bool (params, "read_only", false);
}

static void
check_answer (const struct rpc_request *request, int r, json_t *value,
              const char *why)
{
  struct rpc_result result = { .value = value };
  char *line;
  json_t *answer;

  strcpy (result.why, why);
  line = rpc_answer (request, r, &result);
  fuzz_assert ((line == NULL) == (request->id == NULL));
  answer = parse_line (line);
  if (answer != NULL)
    fuzz_assert (
      json_equal (json_object_get (answer, "id"), (json_t *) request->id));
  json_decref (answer);
  free (line);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct rpc_request request;
  char why[64], *line = malloc (size + 1), *answer = NULL;
  int r;

  fuzz_assert (line != NULL);
  if (size > 0)
    memcpy (line, data, size);
  line[size] = '\0';
  r = rpc_parse (line, size, methods, &request, &answer);
  if (r != 0) {
    json_t *told = parse_line (answer);

    fuzz_assert (r == RPC_PARSE_ERROR || r == RPC_INVALID_REQUEST ||
                 r == RPC_METHOD_NOT_FOUND || r == RPC_INVALID_PARAMS);
    if (told != NULL)
      fuzz_assert (
        json_integer_value (
          json_object_get (json_object_get (told, "error"), "code")) == r);
    json_decref (told);
    free (answer);
    free (line);
    return 0;
  }
  fuzz_assert (answer == NULL);
  check_params (&request);
  check_answer (&request, 0, json_true (), "");
  /* What is refused quotes what was asked for, whatever that is. */
  (void) snprintf (why, sizeof why, "%.60s", line);
  check_answer (&request, -EBUSY, NULL, why);
  rpc_request_free (&request);
  free (line);
  return 0;
}
