/* Where messages for people go.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "dmio-log.h"
#include "log-sink.h"

static _Atomic (log_sink_fn) sink;

void
log_sink_set (log_sink_fn fn)
{
  atomic_store (&sink, fn);
}

/* What the program has set. */
static _Atomic (dmio_log_fn) program_log;

static void
log_to_program (enum log_level level, const char *message)
{
  dmio_log_fn fn = atomic_load (&program_log);

  if (fn != NULL)
    fn ((enum dmio_log_level) level, message);
}

void
dmio_set_log (dmio_log_fn fn)
{
  atomic_store (&program_log, fn);
  log_sink_set (fn != NULL ? log_to_program : NULL);
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
log_quote (const char *text, char buffer[LOG_QUOTE_BYTES])
{
  static const char gap[] = "[...]";
  const size_t part = (LOG_QUOTE_BYTES - sizeof gap) / 2;
  size_t length = strlen (text);

  if (length < LOG_QUOTE_BYTES)
    (void) snprintf (buffer, LOG_QUOTE_BYTES, "%s", text);
  else
    (void) snprintf (buffer, LOG_QUOTE_BYTES, "%.*s%s%s", (int) part, text, gap,
                     text + length - part);
  return buffer;
}

const char *
errno_text (int negative_errno)
{
  /* strerrordesc_np returns constant strings: no buffer, no locale. */
  const char *text = strerrordesc_np (-negative_errno);

  return text != NULL ? text : "Unknown error";
}
