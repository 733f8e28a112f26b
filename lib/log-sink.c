/* Where messages for people go.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "dmio-log.h"
#include "log-sink.h"
#include "sync.h"

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

/*----- repetitions -----------------------------------------------------*/

/* A disk that fails may be told of a thousand times a second.  Kinds share
 * slots: one that takes another's place is counted anew, so it says a little
 * more, never less.
 */
#define LIMIT_SLOTS 64

struct limit {
  const char *format; /* of the kind that has the slot */
  uint64_t since_ns;
  unsigned passed, left_out;
};

static struct mutex limit_lock = MUTEX_INITIALIZER; /* a leaf */
static unsigned limit_max;
static uint64_t limit_per_ns;
static struct limit limits[LIMIT_SLOTS];

/* What is to be done with a message. */
struct verdict {
  bool may_pass;
  bool is_last;      /* for some time */
  unsigned left_out; /* so many before it */
};

/* Where a kind is counted: by its text, since where that lies in memory would
 * make one build say more than another.
 */
static struct limit *
slot_of (const char *format)
{
  uint32_t hash = UINT32_C (2166136261); /* FNV-1a */

  for (; *format != '\0'; ++format)
    hash = (hash ^ (unsigned char) *format) * UINT32_C (16777619);
  return &limits[hash % LIMIT_SLOTS];
}

static struct verdict
judge (const char *format)
{
  struct limit *l = slot_of (format);
  bool is_known;
  struct verdict verdict = { .may_pass = true };
  uint64_t now;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&limit_lock);
  if (limit_max == 0)
    return verdict;
  now = clock_now_ns ();
  is_known = l->format != NULL && strcmp (l->format, format) == 0;
  if (!is_known || now - l->since_ns >= limit_per_ns) {
    if (is_known)
      verdict.left_out = l->left_out;
    *l = (struct limit){ .format = format, .since_ns = now };
  }
  if (l->passed == limit_max) {
    l->left_out++;
    verdict.may_pass = false;
    return verdict;
  }
  verdict.is_last = ++l->passed == limit_max;
  return verdict;
}

void
log_sink_limit (unsigned max, uint64_t per_ns)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&limit_lock);
  limit_max = max;
  limit_per_ns = per_ns;
  memset (limits, 0, sizeof limits);
}

void
log_message (enum log_level level, const char *format, ...)
{
  log_sink_fn fn = atomic_load (&sink);
  struct verdict verdict = { .may_pass = true };
  char message[LOG_MESSAGE_BYTES];
  va_list args;

  if (fn == NULL)
    return;
  if (level >= LOG_LEVEL_WARNING)
    verdict = judge (format);
  if (!verdict.may_pass)
    return;
  if (verdict.left_out > 0) {
    (void) snprintf (message, sizeof message,
                     "%u messages like the next one were left out",
                     verdict.left_out);
    fn (level, message);
  }
  va_start (args, format);
  (void) vsnprintf (message, sizeof message, format, args);
  va_end (args);
  fn (level, message);
  if (verdict.is_last)
    fn (level, "more like the last one are left out for some time");
}

void
log_change (enum log_level level, const char *format, ...)
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
  char *p;

  if (length < LOG_QUOTE_BYTES)
    (void) snprintf (buffer, LOG_QUOTE_BYTES, "%s", text);
  else
    (void) snprintf (buffer, LOG_QUOTE_BYTES, "%.*s%s%s", (int) part, text, gap,
                     text + length - part);
  for (p = buffer; *p != '\0'; ++p)
    if ((unsigned char) *p < ' ' || *p == 0x7f)
      *p = '?';
  return buffer;
}

const char *
errno_text (int negative_errno)
{
  /* strerrordesc_np returns constant strings: no buffer, no locale. */
  const char *text = strerrordesc_np (-negative_errno);

  /* Whatever was to be opened, it is not to blame. */
  if (negative_errno == -EMFILE)
    return "Too many open files in one process; raise the limit, 'ulimit -n'";

  return text != NULL ? text : "Unknown error";
}
