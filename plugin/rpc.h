/* JSON-RPC 2.0: a line in, a call of a method, a line out.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Pure text: no sockets, no threads, no volume.  Methods are a table, which
 * says of every parameter what it is; so what is wrong with a request is
 * found here, and the table describes itself.
 */

#ifndef DM_RPC_H
#define DM_RPC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log-sink.h"

#define RPC_PARSE_ERROR (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_METHOD_NOT_FOUND (-32601)
#define RPC_INVALID_PARAMS (-32602)
#define RPC_INTERNAL_ERROR (-32603)
#define RPC_REFUSED (-32000) /* the volume says no: see the data's errno */

/* Nobody needs more, and a parser that calls itself needs a bound. */
#define RPC_MAX_DEPTH 16

enum rpc_type {
  RPC_STRING,
  RPC_NUMBER, /* an integer, not negative */
  RPC_BOOL,
  RPC_SIZE, /* an integer, not negative, or a string such as "64K" */
};

struct rpc_param {
  const char *name;
  enum rpc_type type;
  bool is_required;
  const char *text; /* for people */
};

#define RPC_MAX_PARAMS 6

/* What a call fills: VALUE, or if it returns a negative errno, WHY. */
struct rpc_result {
  json_t *value;
  char why[LOG_MESSAGE_BYTES];
};

struct rpc_method {
  const char *name;
  const char *text;                            /* for people: one sentence */
  struct rpc_param params[RPC_MAX_PARAMS + 1]; /* up to one without a name */
  bool may_block; /* it may take long: not for the thread of the socket */
  /* For who has made the table. */
  int (*call) (void *context, const json_t *params, struct rpc_result *result);
  /* NULL, or, where `call` may block: tried first, and may not.  -EAGAIN: it is
   * for `call`.
   */
  int (*call_now) (void *context, const json_t *params,
                   struct rpc_result *result);
};

/* What a line asks for. */
struct rpc_request {
  json_t *root;
  const json_t *id; /* NULL: a notification, which is not answered */
  const struct rpc_method *method;
  const json_t *params; /* an object, or NULL */
};

/* Read one line against the METHODS, which end with one without a name.
 * Returns 0, and then REQUEST is for rpc_request_free.  Else a code from
 * above, and *ANSWER is the line to answer with, for free(), or NULL if none is
 * due (or there is no memory).
 */
int rpc_parse (const char *line, size_t length,
               const struct rpc_method *methods, struct rpc_request *request,
               char **answer);
void rpc_request_free (struct rpc_request *request);

/* Answer REQUEST, whose call returned R: with the value of RESULT, of which
 * the reference is taken, or if R is negative with that and why.  Returns a
 * line with its newline for free(); NULL if none is due, or there is no
 * memory.
 */
char *rpc_answer (const struct rpc_request *request, int r,
                  const struct rpc_result *result);

/* A line that answers nobody in particular: an error without an id. */
char *rpc_error_line (int code, const char *message);

/* A notification.  Takes the reference of PARAMS. */
char *rpc_notification (const char *method, json_t *params);

/* The METHODS as JSON: what "methods" answers. */
json_t *rpc_describe (const struct rpc_method *methods);

/* A parameter's value, where there is one, else the default. */
const char *rpc_string (const json_t *params, const char *name,
                        const char *otherwise);
bool rpc_bool (const json_t *params, const char *name, bool otherwise);

/* Of RPC_NUMBER and RPC_SIZE; rpc_parse has seen that it is one. */
uint64_t rpc_number (const json_t *params, const char *name,
                     uint64_t otherwise);

#endif /* DM_RPC_H */
