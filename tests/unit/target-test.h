/* What the unit tests of plugin/ share: messages, and calls in threads.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Like test-util.h, everything is here and inline; a test uses what it
 * needs.
 */

#ifndef DM_TARGET_TEST_H
#define DM_TARGET_TEST_H

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "bits.h"
#include "block-device.h"
#include "clock.h"
#include "fault-bdev.h"
#include "log-sink.h"
#include "target.h"
#include "test-util.h"

/*----- messages --------------------------------------------------------*/

#define CAPTURED_BYTES (256 * 1024)

static struct mutex captured_lock = MUTEX_INITIALIZER;
static char captured_text[CAPTURED_BYTES];
static size_t captured_length;

static inline void
capture_message (enum log_level level, const char *message)
{
  size_t left;
  int n;

  mutex_lock (&captured_lock);
  left = sizeof captured_text - captured_length;
  n = snprintf (captured_text + captured_length, left, "%c: %s\n",
                "DIWE"[level], message);
  if (n > 0 && (size_t) n < left)
    captured_length += (size_t) n;
  mutex_unlock (&captured_lock);
}

/* From now on messages are kept; those from before are forgotten. */
static inline void
capture_messages (void)
{
  log_sink_set (capture_message);
  mutex_lock (&captured_lock);
  captured_length = 0;
  captured_text[0] = '\0';
  mutex_unlock (&captured_lock);
}

/* True if TEXT is in one of the messages. */
static inline bool
was_said (const char *text)
{
  bool found;

  mutex_lock (&captured_lock);
  found = strstr (captured_text, text) != NULL;
  mutex_unlock (&captured_lock);
  return found;
}

#define assert_said(text) \
  ck_assert_msg (was_said (text), "\"%s\" is not in:\n%s", (text), \
                 captured_text)

/*----- checking --------------------------------------------------------*/

/* As ck_assert, which is too slow for what is asked a million times. */
#define quick_assert(condition) \
  do { \
    if (!(condition)) \
      ck_abort_msg ("%s", #condition); \
  } while (0)

/*----- waiting ---------------------------------------------------------*/

/* A moment, for others to get on: only where they cannot say that they
 * have.
 */
static inline void
short_wait (void)
{
  struct mutex lock;
  struct cond never;
  uint64_t until = clock_now_ns () + 2000000;

  mutex_init (&lock);
  cond_init (&never);
  mutex_lock (&lock);
  while (cond_wait_until (&never, &lock, until))
    ;
  mutex_unlock (&lock);
  cond_destroy (&never);
  mutex_destroy (&lock);
}

/* Wait until CONDITION; the test fails if it takes too long: a minute. */
#define wait_until(condition) \
  do { \
    unsigned waits_ = 0; \
    while (!(condition)) { \
      ck_assert_msg (waits_++ < 30000, "waited in vain: %s", #condition); \
      short_wait (); \
    } \
  } while (0)

/*----- chance ----------------------------------------------------------*/

/* The state of a generator; any number will do to begin with. */
struct chance {
  uint64_t state;
};

static inline uint64_t
chance_next (struct chance *c)
{
  uint64_t x = c->state += 0x9e3779b97f4a7c15U;

  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
  x = (x ^ x >> 27) * 0x94d049bb133111ebU;
  return x ^ x >> 31;
}

/* 0 .. N - 1. */
static inline uint64_t
chance_below (struct chance *c, uint64_t n)
{
  return chance_next (c) % n;
}

/* Where random tests begin: UNIT_SEED, or 1; printed, for a repetition. */
static inline struct chance
chance_begin (const char *test)
{
  const char *text = getenv ("UNIT_SEED");
  struct chance c = { text != NULL ? strtoull (text, NULL, 10) : 1 };

  printf ("%s: UNIT_SEED=%llu\n", test, (unsigned long long) c.state);
  return c;
}

/*----- threads ---------------------------------------------------------*/

/* One call on a thread of its own. */
struct call {
  struct thread thread;
  struct target *target;
  void *buffer;
  sector_t sector;
  sector_t count;
  unsigned flags;
  char op; /* r, w, z, f */
  atomic_bool is_done;
  int result;
};

static inline void
call_main (void *arg)
{
  struct call *c = arg;

  switch (c->op) {
  case 'r':
    c->result = target_read (c->target, c->buffer, c->sector, c->count);
    break;
  case 'w':
    c->result = target_write (c->target, c->buffer, c->sector, c->count,
                              c->flags);
    break;
  case 'z':
    c->result = target_zero (c->target, c->sector, c->count, c->flags);
    break;
  default:
    c->result = target_flush (c->target);
    break;
  }
  atomic_store (&c->is_done, true);
}

static inline void
call_start (struct call *c)
{
  atomic_store (&c->is_done, false);
  ck_assert_int_eq (thread_start (&c->thread, "call", call_main, c), 0);
}

static inline int
call_join (struct call *c)
{
  thread_join (&c->thread);
  return c->result;
}

#endif /* DM_TARGET_TEST_H */
