/* The simulated machine: chance, time, fibers, and who runs next.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States of a fiber:
 *   READY   -> RUNNING  [schedule]
 *   RUNNING -> READY    [sim_point], if another one is chosen
 *   RUNNING -> BLOCKED  [sim_block]
 *   BLOCKED -> READY    [sim_wake_one, sim_wake_all, or its deadline]
 *   RUNNING -> DONE     [fiber_main]
 */

#include <config.h>

#include <assert.h>
#include <execinfo.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "fiber.h"
#include "sim.h"

#define MAX_FIBERS 128
#define NAME_BYTES 16
#define POINT_NS 1000

enum fiber_state {
  READY,
  RUNNING,
  BLOCKED,
  DONE,
};

struct fiber {
  struct fiber_stack *stack;
  enum fiber_state state;
  unsigned id;    /* in the order of starting */
  unsigned index; /* in `fibers` */
  char name[NAME_BYTES];
  void (*fn) (void *arg);
  void *arg;
  uint32_t priority;
  const char *what; /* BLOCKED: what it waits for */
  const void *object;
  uint64_t deadline_ns;
  bool has_timed_out;
  int error; /* nbdkit's */
};

static struct fiber_stack *main_stack;
static struct fiber *fibers[MAX_FIBERS];
static unsigned fiber_count;
static unsigned ready_count;
static unsigned timed_count; /* BLOCKED, with a deadline */
static uint64_t no_deadline_before_ns;
static unsigned next_id;
static struct fiber *self;

static uint64_t seed_now;
static uint64_t random_state;
static uint64_t now_ns;
static uint64_t points;
static uint64_t at_point;
static void (*at_point_fn) (void);
static unsigned events;
static unsigned at_event;
static void (*at_event_fn) (void);
static uint64_t tick;
static uint64_t hash;
static bool is_traced;
static bool is_dumping;
static struct sim_policy policy;
static unsigned thread_error_one_in;
static const char *replay = "";

/*----- chance ----------------------------------------------------------*/

uint64_t
sim_random (void)
{
  /* Model: Steele, Lea, Flood: "Fast splittable pseudorandom number
   * generators", 2014 (SplitMix64).
   */
  uint64_t z = random_state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

unsigned
sim_below (unsigned n)
{
  return (unsigned) ((sim_random () >> 32) * n >> 32);
}

bool
sim_one_in (unsigned n)
{
  return n != 0 && sim_below (n) == 0;
}

/*----- every combination -----------------------------------------------*/

#define MAX_CHOICES 64

/* The choices of this run, the last of them to be changed first. */
static struct {
  bool is_on;
  unsigned max;
  unsigned product;
  unsigned count; /* made so far */
  unsigned known; /* of these, to be made as the last time */
  unsigned value[MAX_CHOICES];
  unsigned radix[MAX_CHOICES];
} choices;

unsigned
sim_choose (unsigned n)
{
  unsigned i = choices.count;

  if (!choices.is_on || n == 1)
    return n == 1 ? 0 : sim_below (n);
  if (i == choices.known) {
    if (i == MAX_CHOICES || choices.product * n > choices.max)
      return sim_below (n);
    choices.product *= n;
    choices.radix[i] = n;
    choices.value[i] = 0;
    choices.known++;
  }
  choices.count++;
  return choices.value[i];
}

void
sim_choose_begin (unsigned max)
{
  choices.is_on = true;
  choices.max = max;
  choices.product = 1;
  choices.count = choices.known = 0;
}

bool
sim_choose_next (void)
{
  choices.count = 0;
  while (choices.known > 0) {
    unsigned i = choices.known - 1;

    if (++choices.value[i] < choices.radix[i])
      return true;
    choices.product /= choices.radix[i];
    choices.known--;
  }
  return false;
}

void
sim_choose_end (void)
{
  choices.is_on = false;
}

bool
sim_is_choosing (void)
{
  return choices.is_on;
}

/*----- telling ---------------------------------------------------------*/

void
sim_mix (uint64_t value)
{
  hash = (hash ^ value) * UINT64_C (0x100000001b3);
  hash ^= hash >> 29;
}

bool
sim_is_traced (void)
{
  return is_traced;
}

void
sim_trace (const char *format, ...)
{
  va_list args;

  if (!is_traced)
    return;
  printf ("%8" PRIu64 " %14" PRIu64 " %3u %-11s ", points, now_ns, self->id,
          self->name);
  va_start (args, format);
  (void) vprintf (format, args);
  va_end (args);
  putchar ('\n');
}

/* Show where each fiber stands, by going there. */
static void
dump_fibers (void)
{
  static const char *const states[] = { "ready", "running", "waits for",
                                        "ended" };
  struct fiber *me = self;
  unsigned i;

  is_dumping = true;
  for (i = 0; i < fiber_count; ++i) {
    struct fiber *f = fibers[i];
    void *frames[24];

    fprintf (stderr, "fiber %u (%s): %s %s\n", f->id, f->name, states[f->state],
             f->state == BLOCKED ? f->what : "");
    fflush (stderr);
    if (f == me)
      backtrace_symbols_fd (frames, backtrace (frames, 24), STDERR_FILENO);
    else if (f->state != DONE && f->what != NULL) {
      self = f;
      fiber_switch (me->stack, f->stack, 0);
      self = me;
    }
  }
  is_dumping = false;
}

static struct fiber *dumper;

/* Come here after every switch.  Somebody may only want to know where. */
static void
look_back (void)
{
  void *frames[24];

  while (is_dumping && self != dumper) {
    backtrace_symbols_fd (frames, backtrace (frames, 24), STDERR_FILENO);
    fiber_switch (self->stack, dumper->stack, 0);
  }
}

void
sim_fail (const char *format, ...)
{
  va_list args;

  fflush (stdout);
  fprintf (stderr, "FAILED: seed %" PRIu64 ", point %" PRIu64 ": ", seed_now,
           points);
  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fprintf (stderr, "\nreplay: dmsim --seeds %" PRIu64 "%s --trace\n", seed_now,
           replay);
  dumper = self;
  dump_fibers ();
  fflush (stderr);
  _exit (1);
}

void
sim_set_replay (const char *words)
{
  replay = words;
}

/*----- who runs next ---------------------------------------------------*/

static void
make_ready (struct fiber *f)
{
  assert (f->state == BLOCKED);
  if (f->deadline_ns != SIM_NEVER)
    timed_count--;
  f->state = READY;
  ready_count++;
}

/* Wake those whose time has come. */
static void
run_timers (void)
{
  uint64_t next = SIM_NEVER;
  unsigned i;

  if (timed_count == 0 || now_ns < no_deadline_before_ns)
    return;
  for (i = 0; i < fiber_count; ++i) {
    struct fiber *f = fibers[i];

    if (f->state != BLOCKED)
      continue;
    if (f->deadline_ns <= now_ns) {
      f->has_timed_out = true;
      make_ready (f);
    }
    else
      next = MIN_OF (next, f->deadline_ns);
  }
  no_deadline_before_ns = next;
}

static uint64_t
next_deadline (void)
{
  uint64_t first = SIM_NEVER;
  unsigned i;

  for (i = 0; i < fiber_count; ++i)
    if (fibers[i]->state == BLOCKED && fibers[i]->deadline_ns < first)
      first = fibers[i]->deadline_ns;
  return first;
}

/* One of those that are ready; there is one. */
static struct fiber *
choose (void)
{
  struct fiber *best = NULL;
  unsigned i, n;

  if (policy.by_priority) {
    for (i = 0; i < fiber_count; ++i)
      if (fibers[i]->state == READY &&
          (best == NULL || fibers[i]->priority > best->priority))
        best = fibers[i];
    return best;
  }
  n = sim_below (ready_count);
  for (i = 0;; ++i)
    if (fibers[i]->state == READY && n-- == 0)
      return fibers[i];
}

static void
switch_to (struct fiber *next, int is_last)
{
  struct fiber *from = self;

  next->state = RUNNING;
  ready_count--;
  if (next == from)
    return;
  sim_mix (next->id);
  self = next;
  fiber_switch (from->stack, next->stack, is_last);
  look_back ();
}

/* The running fiber is not any more: choose another one. */
static void
schedule (int is_last)
{
  run_timers ();
  if (ready_count == 0) {
    if (timed_count == 0)
      sim_fail ("nothing can run any more: a deadlock, or a wake-up was lost");
    now_ns = next_deadline ();
    run_timers ();
  }
  switch_to (choose (), is_last);
}

static void
count_point (void)
{
  points++;
  now_ns += POINT_NS;
  if (points == at_point) {
    at_point = 0;
    at_point_fn ();
  }
  if (points > policy.max_points)
    sim_fail ("more than %" PRIu64 " scheduling points: it does not end",
              policy.max_points);
}

void
sim_point (const char *what, const void *object)
{
  count_point ();
  run_timers ();
  if (ready_count == 0)
    return;
  if (policy.by_priority) {
    if (sim_one_in (policy.priority_one_in))
      self->priority = sim_below (1U << 16);
  }
  else if (!sim_one_in (policy.switch_one_in))
    return;
  self->what = what;
  self->object = object;
  self->state = READY;
  ready_count++;
  switch_to (choose (), 0);
}

bool
sim_block (const char *what, const void *object, uint64_t deadline_ns)
{
  struct fiber *me = self;

  count_point ();
  me->what = what;
  me->object = object;
  me->deadline_ns = deadline_ns;
  me->has_timed_out = false;
  me->state = BLOCKED;
  if (deadline_ns != SIM_NEVER)
    timed_count++;
  no_deadline_before_ns = MIN_OF (no_deadline_before_ns, deadline_ns);
  schedule (0);
  me->object = NULL;
  return !me->has_timed_out;
}

unsigned
sim_wake_one (const void *object)
{
  unsigned i, n = 0, chosen;

  for (i = 0; i < fiber_count; ++i)
    if (fibers[i]->state == BLOCKED && fibers[i]->object == object)
      n++;
  if (n == 0)
    return 0;
  chosen = n == 1 ? 0 : sim_below (n);
  for (i = 0;; ++i)
    if (fibers[i]->state == BLOCKED && fibers[i]->object == object &&
        chosen-- == 0) {
      make_ready (fibers[i]);
      return 1;
    }
}

unsigned
sim_wake_all (const void *object)
{
  unsigned i, n = 0;

  for (i = 0; i < fiber_count; ++i) {
    if (fibers[i]->state == BLOCKED && fibers[i]->object == object) {
      make_ready (fibers[i]);
      n++;
    }
  }
  return n;
}

void
sim_sleep_ns (const char *what, const void *object, uint64_t ns)
{
  (void) sim_block (what, object, now_ns + ns);
}

/*----- fibers ----------------------------------------------------------*/

struct fiber *
sim_self (void)
{
  return self;
}

unsigned
sim_fiber_id (const struct fiber *fiber)
{
  return fiber->id;
}

int *
sim_fiber_errno (void)
{
  return &self->error;
}

static struct fiber *
add_fiber (const char *name)
{
  struct fiber *f = calloc (1, sizeof *f);

  if (f == NULL || fiber_count == MAX_FIBERS)
    abort ();
  (void) snprintf (f->name, sizeof f->name, "%s", name);
  f->id = next_id++;
  f->deadline_ns = SIM_NEVER;
  f->priority = sim_below (1U << 16);
  f->index = fiber_count;
  fibers[fiber_count++] = f;
  return f;
}

static void
fiber_main (void *arg)
{
  struct fiber *f = arg;

  look_back ();
  f->fn (f->arg);
  (void) sim_wake_all (f);
  f->state = DONE;
  schedule (1);
  abort ();
}

struct fiber *
sim_fiber_start (const char *name, void (*fn) (void *arg), void *arg)
{
  struct fiber *f = add_fiber (name);

  f->fn = fn;
  f->arg = arg;
  f->stack = fiber_stack_get (fiber_main, f);
  f->state = READY;
  ready_count++;
  return f;
}

void
sim_fiber_join (struct fiber *fiber)
{
  sim_point ("join", fiber);
  while (fiber->state != DONE)
    (void) sim_block ("end of a thread", fiber, SIM_NEVER);
  fiber_stack_put (fiber->stack);
  fibers[fiber->index] = fibers[--fiber_count];
  fibers[fiber->index]->index = fiber->index;
  free (fiber);
}

/*----- the machine -----------------------------------------------------*/

void
sim_begin (uint64_t seed, bool traced)
{
  if (main_stack == NULL)
    main_stack = fiber_stack_of_caller ();
  assert (fiber_count == 0);
  /* Neighbours among the seeds must not look alike. */
  seed_now = random_state = seed;
  random_state = sim_random () ^ seed << 32;
  now_ns = 0;
  points = tick = at_point = 0;
  events = at_event = 0;
  hash = UINT64_C (0xcbf29ce484222325);
  no_deadline_before_ns = SIM_NEVER;
  ready_count = timed_count = next_id = thread_error_one_in = 0;
  is_traced = traced;
  policy = (struct sim_policy){ .switch_one_in = 1, .max_points = UINT64_MAX };
  self = add_fiber ("main");
  self->stack = main_stack;
  self->state = RUNNING;
}

void
sim_set_policy (const struct sim_policy *p)
{
  policy = *p;
}

void
sim_set_thread_errors (unsigned one_in)
{
  thread_error_one_in = one_in;
}

uint64_t
sim_end (void)
{
  if (fiber_count != 1)
    sim_fail ("%u threads were not joined", fiber_count - 1);
  fiber_count = 0;
  free (self);
  self = NULL;
  sim_mix (points);
  return hash;
}

uint64_t
sim_seed (void)
{
  return seed_now;
}

uint64_t
sim_now_ns (void)
{
  return now_ns;
}

uint64_t
sim_points (void)
{
  return points;
}

bool
sim_is_spurious (void)
{
  return sim_one_in (policy.spurious_one_in);
}

bool
sim_thread_fails (void)
{
  return sim_one_in (thread_error_one_in);
}

void
sim_at_point (uint64_t point, void (*fn) (void))
{
  at_point = point;
  at_point_fn = fn;
}

void
sim_event (void)
{
  if (++events == at_event)
    at_event_fn ();
}

unsigned
sim_at_event (unsigned event, void (*fn) (void))
{
  unsigned so_far = events;

  events = 0;
  at_event = event;
  at_event_fn = fn;
  return so_far;
}

uint64_t
sim_tick (void)
{
  return ++tick;
}
