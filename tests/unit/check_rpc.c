/* Unit tests of JSON-RPC: what is taken, what is refused, and how.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "bits.h"
#include "rpc.h"
#include "test-util.h"

static int
never_called (void *context, const json_t *params, struct rpc_result *result)
{
  (void) context;
  (void) params;
  (void) result;
  ck_abort_msg ("rpc.c calls nothing");
}

static const struct rpc_method methods[] = {
  { .name = "look", .text = "Look.", .call = never_called },
  {
    .name = "snapshot.create",
    .text = "Take one.",
    .params = { { "name", RPC_STRING, true, "its name" },
                { "chunk_size", RPC_SIZE, false, "the unit" },
                { "read_only", RPC_BOOL, false, "no writes" },
                { "leg", RPC_NUMBER, false, "a number" } },
    .call = never_called,
  },
  { .name = NULL },
};

static int
parse (const char *line, struct rpc_request *request, char **answer)
{
  return rpc_parse (line, strlen (line), methods, request, answer);
}

static char *
answer_with (const struct rpc_request *request, int r, json_t *value,
             const char *why)
{
  struct rpc_result result = { .value = value };

  strcpy (result.why, why);
  return rpc_answer (request, r, &result);
}

START_TEST (requests_are_read)
{
  struct rpc_request request;
  char *answer;

  ck_assert_int_eq (
    parse ("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"snapshot.create\","
           "\"params\":{\"name\":\"a\",\"chunk_size\":\"64K\",\"leg\":3,"
           "\"read_only\":true}}",
           &request, &answer),
    0);
  ck_assert_ptr_null (answer);
  ck_assert_str_eq (request.method->name, "snapshot.create");
  ck_assert_str_eq (rpc_string (request.params, "name", ""), "a");
  ck_assert_uint_eq (rpc_number (request.params, "chunk_size", 0), 65536);
  ck_assert_uint_eq (rpc_number (request.params, "leg", 0), 3);
  ck_assert_uint_eq (rpc_number (request.params, "other", 9), 9);
  ck_assert (rpc_bool (request.params, "read_only", false));
  ck_assert (!rpc_bool (request.params, "other", false));
  answer = answer_with (&request, 0, json_true (), "");
  ck_assert_str_eq (answer, "{\"jsonrpc\":\"2.0\",\"result\":true,\"id\":7}\n");
  free (answer);
  rpc_request_free (&request);
}
END_TEST

/* An id may be a text, null or absent; only then there is no answer. */
START_TEST (ids_come_back)
{
  static const char *const ids[] = { "\"a\\n\"", "null", "-1",
                                     "9007199254740993", "\"\"" };
  struct rpc_request request;
  char line[200], expected[200], *answer;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (ids); ++i) {
    snprintf (line, sizeof line,
              "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"look\"}", ids[i]);
    snprintf (expected, sizeof expected,
              "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":%s}\n", ids[i]);
    ck_assert_int_eq (parse (line, &request, &answer), 0);
    answer = answer_with (&request, 0, json_object (), "");
    ck_assert_str_eq (answer, expected);
    free (answer);
    rpc_request_free (&request);
  }
  ck_assert_int_eq (parse ("{\"jsonrpc\":\"2.0\",\"method\":\"look\"}",
                           &request, &answer),
                    0);
  ck_assert_ptr_null (answer_with (&request, 0, json_object (), ""));
  ck_assert_ptr_null (answer_with (&request, -EIO, NULL, ""));
  rpc_request_free (&request);
}
END_TEST

/* Each of these is refused with its code, and with words. */
START_TEST (wrong_ones_are_refused)
{
#define ASK "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":"
#define CREATE ASK "\"snapshot.create\",\"params\":"
  static const struct {
    const char *line;
    int code;
    const char *words;
  } wrong[] = {
    { "", RPC_PARSE_ERROR, "is not JSON" },
    { "nonsense", RPC_PARSE_ERROR, "is not JSON" },
    { "{\"jsonrpc\":\"2.0\"", RPC_PARSE_ERROR, "is not JSON" },
    { ASK "\"look\"} x", RPC_PARSE_ERROR, "is not JSON" },
    { ASK "\"look\",\"id\":2}", RPC_PARSE_ERROR, "duplicate" },
    { ASK "\"\\u0000\"}", RPC_PARSE_ERROR, "is not JSON" },
    { ASK "\"\xff\"}", RPC_PARSE_ERROR, "is not JSON" },
    { ASK "1e999}", RPC_PARSE_ERROR, "is not JSON" },
    { "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", RPC_PARSE_ERROR, "too deeply" },
    { "[]", RPC_INVALID_REQUEST, "batches" },
    { "[" ASK "\"look\"}]", RPC_INVALID_REQUEST, "batches" },
    { "1", RPC_INVALID_REQUEST, "an object" },
    { "\"look\"", RPC_INVALID_REQUEST, "an object" },
    { "{}", RPC_INVALID_REQUEST, "2.0" },
    { "{\"id\":1,\"method\":\"look\"}", RPC_INVALID_REQUEST, "2.0" },
    { "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"look\"}", RPC_INVALID_REQUEST,
      "2.0" },
    { "{\"jsonrpc\":2.0,\"id\":1,\"method\":\"look\"}", RPC_INVALID_REQUEST,
      "2.0" },
    { ASK "3}", RPC_INVALID_REQUEST, "'method'" },
    { "{\"jsonrpc\":\"2.0\",\"id\":1}", RPC_INVALID_REQUEST, "'method'" },
    { "{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"look\"}",
      RPC_INVALID_REQUEST, "'id'" },
    { "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"look\"}",
      RPC_INVALID_REQUEST, "'id'" },
    { ASK "\"Look\"}", RPC_METHOD_NOT_FOUND, "'Look'" },
    { ASK "\"\"}", RPC_METHOD_NOT_FOUND, "''" },
    { ASK "\"look\",\"params\":[]}", RPC_INVALID_PARAMS, "by name" },
    { ASK "\"look\",\"params\":null}", RPC_INVALID_PARAMS, "by name" },
    { ASK "\"look\",\"params\":{\"a\":1}}", RPC_INVALID_PARAMS, "'a'" },
    { ASK "\"snapshot.create\"}", RPC_INVALID_PARAMS, "needs 'name'" },
    { CREATE "{}}", RPC_INVALID_PARAMS, "needs 'name'" },
    { CREATE "{\"name\":1}}", RPC_INVALID_PARAMS, "a string" },
    { CREATE "{\"name\":null}}", RPC_INVALID_PARAMS, "a string" },
    { CREATE "{\"name\":\"a\",\"leg\":-1}}", RPC_INVALID_PARAMS, "'leg'" },
    { CREATE "{\"name\":\"a\",\"leg\":\"1\"}}", RPC_INVALID_PARAMS, "'leg'" },
    { CREATE "{\"name\":\"a\",\"leg\":1.0}}", RPC_INVALID_PARAMS, "'leg'" },
    { CREATE "{\"name\":\"a\",\"chunk_size\":\"4Q\"}}", RPC_INVALID_PARAMS,
      "a size" },
    { CREATE "{\"name\":\"a\",\"chunk_size\":\"99999999999999999999\"}}",
      RPC_INVALID_PARAMS, "a size" },
    { CREATE "{\"name\":\"a\",\"read_only\":0}}", RPC_INVALID_PARAMS,
      "true or false" },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (wrong); ++i) {
    struct rpc_request request;
    json_t *told;
    char *answer;

    ck_assert_int_eq (parse (wrong[i].line, &request, &answer), wrong[i].code);
    ck_assert_msg (answer != NULL, "%s", wrong[i].line);
    ck_assert_ptr_null (request.root);
    told = json_loads (answer, 0, NULL);
    ck_assert_ptr_nonnull (told);
    ck_assert_int_eq (json_integer_value (
                        json_object_get (json_object_get (told, "error"),
                                         "code")),
                      wrong[i].code);
    ck_assert_msg (strstr (answer, wrong[i].words) != NULL, "%s: %s",
                   wrong[i].line, answer);
    json_decref (told);
    free (answer);
  }
}
END_TEST

/* A notification is never answered, be it right or wrong; but what is no
 * request at all is.
 */
START_TEST (wrong_notifications_are_not_answered)
{
  struct rpc_request request;
  char *answer;

  ck_assert_int_eq (parse ("{\"jsonrpc\":\"2.0\",\"method\":\"no\"}", &request,
                           &answer),
                    RPC_METHOD_NOT_FOUND);
  ck_assert_ptr_null (answer);
  ck_assert_int_eq (parse ("{\"jsonrpc\":\"2.0\",\"method\":\"look\","
                           "\"params\":[]}",
                           &request, &answer),
                    RPC_INVALID_PARAMS);
  ck_assert_ptr_null (answer);
}
END_TEST

/* The volume's own words, with the errno; names that are not UTF-8 too. */
START_TEST (refusals_name_the_errno)
{
  struct rpc_request request;
  char *answer;

  ck_assert_int_eq (parse (ASK "\"look\"}", &request, &answer), 0);
  answer = answer_with (&request, -EBUSY, NULL, "leg 1 (b.img): is in use");
  ck_assert_str_eq (answer,
                    "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,"
                    "\"message\":\"leg 1 (b.img): is in use\","
                    "\"data\":{\"errno\":16,\"name\":\"EBUSY\"}},\"id\":1}\n");
  free (answer);
  answer = answer_with (&request, -EIO, NULL, "leg 1 (\xff.img)");
  ck_assert_ptr_nonnull (strstr (answer, "leg 1 (?.img)"));
  free (answer);
  answer = answer_with (&request, -ENOMEM, NULL, "");
  ck_assert_ptr_nonnull (strstr (answer, "Cannot allocate memory"));
  free (answer);
  rpc_request_free (&request);
}
END_TEST

START_TEST (the_table_describes_itself)
{
  json_t *all = rpc_describe (methods);
  json_t *params = json_object_get (json_array_get (all, 1), "params");

  ck_assert_uint_eq (json_array_size (all), 2);
  ck_assert_uint_eq (json_array_size (params), 4);
  ck_assert_str_eq (json_string_value (
                      json_object_get (json_array_get (params, 1), "type")),
                    "size");
  ck_assert (
    json_is_true (json_object_get (json_array_get (params, 0), "required")));
  json_decref (all);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    requests_are_read,
    ids_come_back,
    wrong_ones_are_refused,
    wrong_notifications_are_not_answered,
    refusals_name_the_errno,
    the_table_describes_itself,
    NULL,
  };

  return unit_main ("rpc", tests);
}
