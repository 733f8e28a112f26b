/* Where messages for people go.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The library and the targets print nothing: they hand each message, one
 * line without a newline, to a sink that the program sets.  Without one,
 * messages are dropped.
 */

#ifndef DMIO_LOG_SINK_H
#define DMIO_LOG_SINK_H

#include <stdint.h>

/* As those of dmio-log.h, which are the program's names for them. */
enum log_level {
  LOG_LEVEL_DEBUG,   /* of interest to developers */
  LOG_LEVEL_INFO,    /* a state changed as was asked for */
  LOG_LEVEL_WARNING, /* something is not as the user may believe */
  LOG_LEVEL_ERROR,   /* something was lost: a leg, a snapshot, a request */
};

typedef void (*log_sink_fn) (enum log_level level, const char *message);

/* Messages are cut at this many bytes, the NUL included. */
#define LOG_MESSAGE_BYTES 1024

/* Set the sink, or NULL for none.  FN is called on any thread, possibly
 * with locks held: it must not call back.  Set it before threads start.
 */
void log_sink_set (log_sink_fn fn);

/* Of warnings and errors of the same kind (the same format), let MAX pass in
 * PER_NS, and tell how many were left out when there is one again after that.
 * 0: all pass, as at the beginning.
 */
void log_sink_limit (unsigned max, uint64_t per_ns);

/* Format a message and hand it to the sink.  Thread-safe. */
void log_message (enum log_level level, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));

/* The same for a change of state: of these none is left out, whatever limit
 * is set, for there are no more of them than changes.
 */
void log_change (enum log_level level, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));

#define log_debug(...) log_message (LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_message (LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_message (LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_message (LOG_LEVEL_ERROR, __VA_ARGS__)

/* TEXT as it may be quoted in a message: when it is long, its middle is
 * left out, so that there is room for what is wrong with it.  Control
 * characters become '?': a stranger's text makes no line of its own, and tells
 * a terminal nothing.  Returns BUFFER.
 */
#define LOG_QUOTE_BYTES 240
const char *log_quote (const char *text, char buffer[LOG_QUOTE_BYTES]);

/* The text of a negative errno; thread-safe, never NULL. */
const char *errno_text (int negative_errno);

#endif /* DMIO_LOG_SINK_H */
