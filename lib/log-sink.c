/* Where messages for people go.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "log-sink.h"

static _Atomic (log_sink_fn) sink;

void
log_sink_set (log_sink_fn fn)
{
  atomic_store (&sink, fn);
}

void
log_message (enum log_level level, const char *format, ...)
{
  log_sink_fn fn = atomic_load (&sink);
  char message[LOG_MESSAGE_BYTES];
  va_list args;

  if (fn == NULL)
    return;
  va_start (args, format);
  (void) vsnprintf (message, sizeof message, format, args);
  va_end (args);
  fn (level, message);
}

const char *
errno_text (int negative_errno)
{
  /* strerrordesc_np returns constant strings: no buffer, no locale. */
  const char *text = strerrordesc_np (-negative_errno);

  return text != NULL ? text : "Unknown error";
}
