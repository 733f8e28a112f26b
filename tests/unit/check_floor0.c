/* Unit tests of the lowest floor: lists, numbers, time, messages, threads.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "bits.h"
#include "checked-math.h"
#include "clock.h"
#include "fault-alloc.h"
#include "list.h"
#include "dmio-log.h"
#include "log-sink.h"
#include "sync.h"
#include "test-util.h"

/*----- lists -----------------------------------------------------------*/

struct item {
  int before; /* so that the link is not at the start */
  struct list link;
  int number;
};

/* The numbers of a list as digits, forwards; checked backwards too. */
static int
list_digits (struct list *head)
{
  struct list *pos, *back = head->prev;
  int forwards = 0, backwards = 0, power = 1;

  list_for_each (pos, head)
    forwards = forwards * 10 + list_entry (pos, struct item, link)->number;
  for (; back != head; back = back->prev) {
    backwards += power * list_entry (back, struct item, link)->number;
    power *= 10;
  }
  ck_assert_int_eq (forwards, backwards);
  return forwards;
}

START_TEST (list_pushes_and_pops)
{
  struct list head;
  struct list fixed = LIST_INITIALIZER (fixed);
  struct item items[4];
  int i;

  list_init (&head);
  ck_assert (list_is_empty (&head));
  ck_assert (list_is_empty (&fixed));
  ck_assert_ptr_null (list_pop_front (&head));
  for (i = 0; i < 4; ++i)
    items[i].number = i + 1;

  list_push_back (&head, &items[0].link);
  ck_assert (!list_is_empty (&head));
  list_push_back (&head, &items[1].link);
  list_push_front (&head, &items[2].link);
  list_push_back (&head, &items[3].link);
  ck_assert_int_eq (list_digits (&head), 3124);

  ck_assert_ptr_eq (list_pop_front (&head), &items[2].link);
  ck_assert (list_is_empty (&items[2].link));
  ck_assert_int_eq (list_digits (&head), 124);

  /* From the middle, and twice: a link taken out is left empty. */
  list_remove (&items[1].link);
  list_remove (&items[1].link);
  ck_assert_int_eq (list_digits (&head), 14);
  list_remove (&items[3].link);
  ck_assert_ptr_eq (list_pop_front (&head), &items[0].link);
  ck_assert (list_is_empty (&head));
  ck_assert_ptr_null (list_pop_front (&head));
}
END_TEST

START_TEST (list_splices)
{
  struct list a = LIST_INITIALIZER (a);
  struct list b = LIST_INITIALIZER (b);
  struct item items[4];
  int i;

  for (i = 0; i < 4; ++i) {
    items[i].number = i + 1;
    list_push_back (i < 2 ? &a : &b, &items[i].link);
  }
  list_splice_back (&a, &b);
  ck_assert_int_eq (list_digits (&a), 1234);
  ck_assert (list_is_empty (&b));

  list_splice_back (&a, &b); /* nothing */
  ck_assert_int_eq (list_digits (&a), 1234);
  ck_assert (list_is_empty (&b));

  list_splice_back (&b, &a); /* to an empty one */
  ck_assert_int_eq (list_digits (&b), 1234);
  ck_assert (list_is_empty (&a));
}
END_TEST

START_TEST (list_walk_may_remove)
{
  struct list head = LIST_INITIALIZER (head);
  struct list *pos, *tmp;
  struct item items[5];
  int i, visited = 0;

  for (i = 0; i < 5; ++i) {
    items[i].number = i + 1;
    list_push_back (&head, &items[i].link);
  }
  list_for_each_safe (pos, tmp, &head) {
    ++visited;
    if (list_entry (pos, struct item, link)->number % 2 == 1)
      list_remove (pos);
  }
  ck_assert_int_eq (visited, 5);
  ck_assert_int_eq (list_digits (&head), 24);
}
END_TEST

/*----- numbers ---------------------------------------------------------*/

START_TEST (bits_powers)
{
  unsigned i;

  ck_assert (!is_power_of_2 (0));
  ck_assert (!is_power_of_2 (3));
  ck_assert (!is_power_of_2 (UINT64_MAX));
  ck_assert (!is_power_of_2 ((UINT64_C (1) << 63) + 1));
  for (i = 0; i < 64; ++i) {
    ck_assert (is_power_of_2 (UINT64_C (1) << i));
    ck_assert_uint_eq (log2_of (UINT64_C (1) << i), i);
  }
}
END_TEST

START_TEST (bits_rounding)
{
  const uint64_t high = UINT64_MAX - 511; /* a multiple of 512 */

  ck_assert_uint_eq (round_down_to (0, 512), 0);
  ck_assert_uint_eq (round_down_to (511, 512), 0);
  ck_assert_uint_eq (round_down_to (512, 512), 512);
  ck_assert_uint_eq (round_down_to (UINT64_MAX, 512), high);
  ck_assert_uint_eq (round_down_to (7, 1), 7);
  ck_assert_uint_eq (round_up_to (0, 512), 0);
  ck_assert_uint_eq (round_up_to (1, 512), 512);
  ck_assert_uint_eq (round_up_to (512, 512), 512);
  ck_assert_uint_eq (round_up_to (513, 512), 1024);
  ck_assert_uint_eq (round_up_to (high - 1, 512), high);
  ck_assert_uint_eq (div_round_up (0, 3), 0);
  ck_assert_uint_eq (div_round_up (1, 3), 1);
  ck_assert_uint_eq (div_round_up (3, 3), 1);
  ck_assert_uint_eq (div_round_up (4, 3), 2);
  ck_assert_uint_eq (sector_to_bytes (3), 1536);
  ck_assert_uint_eq (sector_to_bytes (SECTOR_MAX), INT64_MAX - 511);
  ck_assert_int_eq (MIN_OF (2, 3), 2);
  ck_assert_int_eq (MAX_OF (2, 3), 3);
}
END_TEST

START_TEST (checked_arithmetic)
{
  uint64_t r;

  ck_assert (checked_add (2, 3, &r));
  ck_assert_uint_eq (r, 5);
  ck_assert (checked_add (UINT64_MAX, 0, &r));
  ck_assert_uint_eq (r, UINT64_MAX);
  ck_assert (!checked_add (UINT64_MAX, 1, &r));
  ck_assert (!checked_add (UINT64_C (1) << 63, UINT64_C (1) << 63, &r));
  ck_assert (checked_mul (UINT32_MAX, UINT32_MAX, &r));
  ck_assert_uint_eq (r, UINT64_C (0xfffffffe00000001));
  ck_assert (checked_mul (UINT64_MAX, 1, &r));
  ck_assert (checked_mul (UINT64_MAX, 0, &r));
  ck_assert_uint_eq (r, 0);
  ck_assert (!checked_mul (UINT64_C (1) << 32, UINT64_C (1) << 32, &r));
}
END_TEST

/* All triples of a small world that is as wide as the numbers are: 0, 1,
 * ... 3 and the largest four, against arithmetic that cannot wrap.
 */
START_TEST (checked_ranges)
{
  uint64_t n[8];
  unsigned a, b, c, d, i;

  for (i = 0; i < 4; ++i) {
    n[i] = i;
    n[7 - i] = UINT64_MAX - i;
  }
  for (a = 0; a < 8; ++a)
    for (b = 0; b < 8; ++b)
      for (c = 0; c < 8; ++c)
        ck_assert_int_eq (range_is_inside (n[a], n[b], n[c]),
                          (unsigned __int128) n[a] + n[b] <= n[c]);

  for (a = 0; a < 6; ++a)
    for (b = 0; b < 6; ++b)
      for (c = 0; c < 6; ++c)
        for (d = 0; d < 6; ++d) {
          bool shared = false;

          for (i = 0; i < 12; ++i)
            shared |= i >= a && i < a + b && i >= c && i < c + d;
          ck_assert_int_eq (ranges_overlap (a, b, c, d), shared);
        }
}
END_TEST

/*----- time and messages -----------------------------------------------*/

START_TEST (clock_goes_forward)
{
  uint64_t last = clock_now_ns ();
  int64_t wall = clock_wall_seconds ();
  int i;

  for (i = 0; i < 1000; ++i) {
    uint64_t now = clock_now_ns ();

    ck_assert_uint_ge (now, last);
    last = now;
  }
  ck_assert_int_ge (wall, 1700000000); /* a day of 2023 */
}
END_TEST

START_TEST (clock_formats)
{
  char text[CLOCK_RFC3339_BYTES];

  clock_format_rfc3339 (0, text);
  ck_assert_str_eq (text, "1970-01-01T00:00:00Z");
  clock_format_rfc3339 (951827696, text);
  ck_assert_str_eq (text, "2000-02-29T12:34:56Z");
  clock_format_rfc3339 (-1, text);
  ck_assert_str_eq (text, "1969-12-31T23:59:59Z");
  clock_format_rfc3339 (INT64_C (253402300800), text);
  ck_assert_str_eq (text, "10000-01-01T00:00:00Z");
  clock_format_rfc3339 (INT64_MAX, text); /* no year has that number */
  ck_assert_str_eq (text, "");
}
END_TEST

static enum log_level last_level;
static char last_message[2 * LOG_MESSAGE_BYTES];
static unsigned messages;

static void
note_message (enum log_level level, const char *message)
{
  last_level = level;
  ck_assert_uint_lt (strlen (message), sizeof last_message);
  strcpy (last_message, message);
  messages++;
}

START_TEST (log_reaches_the_sink)
{
  char lengthy[2 * LOG_MESSAGE_BYTES];

  messages = 0;
  log_error ("nobody listens");
  log_sink_set (note_message);
  log_debug ("a %d", 1);
  ck_assert_str_eq (last_message, "a 1");
  ck_assert_int_eq (last_level, LOG_LEVEL_DEBUG);
  log_info ("b %s", "two");
  ck_assert_str_eq (last_message, "b two");
  ck_assert_int_eq (last_level, LOG_LEVEL_INFO);
  log_warning ("c");
  ck_assert_int_eq (last_level, LOG_LEVEL_WARNING);
  log_error ("100%%");
  ck_assert_str_eq (last_message, "100%");
  ck_assert_int_eq (last_level, LOG_LEVEL_ERROR);
  ck_assert_uint_eq (messages, 4);

  memset (lengthy, 'x', sizeof lengthy);
  lengthy[sizeof lengthy - 1] = '\0';
  log_info ("%s", lengthy);
  ck_assert_uint_eq (strlen (last_message), LOG_MESSAGE_BYTES - 1);

  log_sink_set (NULL);
  log_error ("nobody listens again");
  ck_assert_uint_eq (messages, 5);
}
END_TEST

static enum dmio_log_level program_level;

static void
note_for_program (enum dmio_log_level level, const char *message)
{
  program_level = level;
  ck_assert_str_eq (message, "said");
  messages++;
}

START_TEST (log_reaches_the_program)
{
  static const struct {
    enum log_level ours;
    enum dmio_log_level theirs;
  } levels[] = {
    { LOG_LEVEL_DEBUG, DMIO_LOG_DEBUG },
    { LOG_LEVEL_INFO, DMIO_LOG_INFO },
    { LOG_LEVEL_WARNING, DMIO_LOG_WARNING },
    { LOG_LEVEL_ERROR, DMIO_LOG_ERROR },
  };
  unsigned i;

  messages = 0;
  dmio_set_log (note_for_program);
  for (i = 0; i < ARRAY_COUNT (levels); ++i) {
    log_message (levels[i].ours, "said");
    ck_assert_int_eq (program_level, levels[i].theirs);
  }
  dmio_set_log (NULL);
  log_error ("dropped");
  ck_assert_uint_eq (messages, ARRAY_COUNT (levels));
}
END_TEST

static unsigned messages_noted;
static char all_notes[4096];

static void
note_all (enum log_level level, const char *message)
{
  size_t n = strlen (all_notes);

  (void) level;
  messages_noted++;
  (void) snprintf (all_notes + n, sizeof all_notes - n, "%s\n", message);
}

/* One kind is cut off, others are not, and what was left out is told. */
START_TEST (repeated_messages_are_limited)
{
  unsigned i;

  log_sink_set (note_all);
  for (i = 0; i < 50; ++i)
    log_error ("before %u", i);
  ck_assert_uint_eq (messages_noted, 50);

  messages_noted = 0;
  all_notes[0] = '\0';
  log_sink_limit (3, 3600 * NS_PER_SECOND);
  for (i = 0; i < 10; ++i)
    log_error ("kind %u", i);
  log_info ("asked for");
  log_warning ("another kind");
  for (i = 0; i < 5; ++i)
    log_change (LOG_LEVEL_ERROR, "change %u", i);
  ck_assert_str_eq (all_notes,
                    "kind 0\nkind 1\nkind 2\n"
                    "more like the last one are left out for some time\n"
                    "asked for\nanother kind\n"
                    "change 0\nchange 1\nchange 2\nchange 3\nchange 4\n");

  /* Time is over at once. */
  log_sink_limit (1, 3600 * NS_PER_SECOND);
  for (i = 0; i < 3; ++i) {
    messages_noted = 0;
    log_error ("again");
    ck_assert_uint_eq (messages_noted, i == 0 ? 2 : 0);
  }
  log_sink_limit (0, 0);
  for (i = 0; i < 3; ++i)
    log_error ("again");
  ck_assert_uint_eq (messages_noted, 3);
  log_sink_set (NULL);
}
END_TEST

/* When the time is over they come again, and how many were missed. */
START_TEST (messages_that_were_left_out_are_counted)
{
  log_sink_set (note_all);
  log_sink_limit (1, NS_PER_SECOND / 10);
  while (strstr (all_notes,
                 " messages like the next one were left out\nkind") == NULL) {
    all_notes[0] = '\0';
    log_error ("kind");
  }
  log_sink_limit (0, 0);
  log_sink_set (NULL);
}
END_TEST

START_TEST (log_quotes_the_ends)
{
  char text[LOG_QUOTE_BYTES + 1], buffer[LOG_QUOTE_BYTES];
  size_t bytes, end;

  ck_assert_ptr_eq (log_quote ("", buffer), buffer);
  ck_assert_str_eq (buffer, "");
  ck_assert_str_eq (log_quote ("50%s", buffer), "50%s");
  ck_assert_str_eq (log_quote ("a\nb\x1b[2J\x7f\t\xc3\xa9", buffer),
                    "a?b?[2J??\xc3\xa9");

  /* The longest that is quoted whole, and one more. */
  memset (text, 'a', sizeof text);
  text[LOG_QUOTE_BYTES - 1] = '\0';
  ck_assert_str_eq (log_quote (text, buffer), text);
  text[LOG_QUOTE_BYTES - 1] = 'z';
  text[LOG_QUOTE_BYTES] = '\0';
  ck_assert_str_ne (log_quote (text, buffer), text);
  bytes = strlen (buffer);
  ck_assert_uint_le (bytes, LOG_QUOTE_BYTES - 1);
  ck_assert_uint_ge (bytes, LOG_QUOTE_BYTES - 2);
  ck_assert_ptr_nonnull (strstr (buffer, "[...]"));
  ck_assert_int_eq (buffer[0], 'a');
  ck_assert_int_eq (buffer[bytes - 1], 'z');
  end = strlen (strstr (buffer, "[...]"));
  ck_assert_uint_eq (end - 5, bytes - end); /* as much of either end */
}
END_TEST

START_TEST (errno_has_text)
{
  ck_assert_str_eq (errno_text (-EIO), "Input/output error");
  ck_assert_str_eq (errno_text (-ENOSPC), "No space left on device");
  ck_assert_str_eq (errno_text (-123456), "Unknown error");
  ck_assert_str_eq (errno_text (5), "Unknown error");
}
END_TEST

/*----- threads and locks -----------------------------------------------*/

#define ADDERS 4
#define ADDITIONS 5000

struct adder {
  struct thread thread;
  struct mutex *lock;
  unsigned *sum; /* under the lock */
  bool is_self;
  bool has_all_signals_blocked;
};

static void
add_often (void *arg)
{
  struct adder *a = arg;
  sigset_t set;
  unsigned i;

  for (i = 0; i < ADDITIONS; ++i) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (a->lock);

    a->is_self = thread_is_self (&a->thread);
    ++*a->sum;
  }
  a->has_all_signals_blocked = pthread_sigmask (SIG_BLOCK, NULL, &set) == 0 &&
                               sigismember (&set, SIGTERM) == 1 &&
                               sigismember (&set, SIGINT) == 1 &&
                               sigismember (&set, SIGHUP) == 1 &&
                               sigismember (&set, SIGALRM) == 1;
}

START_TEST (threads_exclude_each_other)
{
  struct adder adders[ADDERS];
  struct mutex lock;
  sigset_t set;
  unsigned sum = 0;
  unsigned i;

  mutex_init (&lock);
  for (i = 0; i < ADDERS; ++i) {
    adders[i] = (struct adder){ .lock = &lock, .sum = &sum };
    /* Under the lock: the thread looks at its own handle. */
    mutex_lock (&lock);
    ck_assert_int_eq (thread_start (&adders[i].thread, "adder", add_often,
                                    &adders[i]),
                      0);
    mutex_unlock (&lock);
    ck_assert (!thread_is_self (&adders[i].thread));
  }
  for (i = 0; i < ADDERS; ++i) {
    thread_join (&adders[i].thread);
    ck_assert (adders[i].is_self);
    ck_assert (adders[i].has_all_signals_blocked);
  }
  ck_assert_uint_eq (sum, ADDERS * ADDITIONS);
  /* Our own mask is as it was. */
  ck_assert_int_eq (pthread_sigmask (SIG_BLOCK, NULL, &set), 0);
  ck_assert_int_eq (sigismember (&set, SIGTERM), 0);
  mutex_destroy (&lock);
}
END_TEST

/* Two threads take turns; a lost wake-up would hang them. */
#define TURNS 1000

struct table_tennis {
  struct mutex lock;
  struct cond changed;
  unsigned turn;
};

static void
play (void *arg)
{
  struct table_tennis *t = arg;

  mutex_lock (&t->lock);
  while (t->turn < TURNS) {
    if (t->turn % 2 == 0) {
      cond_wait (&t->changed, &t->lock);
      continue;
    }
    t->turn++;
    cond_signal (&t->changed);
  }
  mutex_unlock (&t->lock);
}

START_TEST (conditions_wake)
{
  struct table_tennis t = { .turn = 0 };
  struct thread thread;

  mutex_init (&t.lock);
  cond_init (&t.changed);
  ck_assert_int_eq (thread_start (&thread, "a-name-that-is-too-long-to-show",
                                  play, &t),
                    0);
  mutex_lock (&t.lock);
  while (t.turn < TURNS) {
    if (t.turn % 2 == 1) {
      cond_wait (&t.changed, &t.lock);
      continue;
    }
    t.turn++;
    cond_broadcast (&t.changed);
  }
  cond_broadcast (&t.changed);
  mutex_unlock (&t.lock);
  thread_join (&thread);
  cond_destroy (&t.changed);
  mutex_destroy (&t.lock);
}
END_TEST

START_TEST (conditions_have_deadlines)
{
  struct mutex lock;
  struct cond cond;
  uint64_t deadline;

  mutex_init (&lock);
  cond_init (&cond);
  mutex_lock (&lock);
  /* In the past, and a little ahead. */
  while (cond_wait_until (&cond, &lock, 1))
    ;
  deadline = clock_now_ns () + 2000000;
  while (cond_wait_until (&cond, &lock, deadline))
    ;
  ck_assert_uint_ge (clock_now_ns (), deadline);
  mutex_unlock (&lock);
  cond_destroy (&cond);
  mutex_destroy (&lock);
}
END_TEST

static void
wake_one (void *arg)
{
  struct table_tennis *t = arg;

  mutex_lock (&t->lock);
  t->turn = 1;
  cond_signal (&t->changed);
  mutex_unlock (&t->lock);
}

START_TEST (a_deadline_far_away_does_not_pass)
{
  struct table_tennis t = { .turn = 0 };
  struct thread thread;
  bool in_time = true;

  mutex_init (&t.lock);
  cond_init (&t.changed);
  mutex_lock (&t.lock);
  ck_assert_int_eq (thread_start (&thread, "waker", wake_one, &t), 0);
  while (t.turn == 0 && in_time)
    in_time = cond_wait_until (&t.changed, &t.lock, UINT64_MAX);
  ck_assert (in_time);
  mutex_unlock (&t.lock);
  thread_join (&thread);
  cond_destroy (&t.changed);
  mutex_destroy (&t.lock);
}
END_TEST

static void
never (void *arg)
{
  (void) arg;
  abort ();
}

START_TEST (thread_start_fails_cleanly)
{
  struct thread thread;
  sigset_t set;
  int r;

  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  r = thread_start (&thread, "none", never, NULL);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -ENOMEM);

  fault_alloc_fail_once (FAULT_ALLOC_THREADS, 0);
  r = thread_start (&thread, "none", never, NULL);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -EAGAIN);
  ck_assert_int_eq (pthread_sigmask (SIG_BLOCK, NULL, &set), 0);
  ck_assert_int_eq (sigismember (&set, SIGTERM), 0);
}
END_TEST

/*----- what each thread has of its own ---------------------------------*/

static atomic_uint destroyed;

static void
destroy_value (void *value)
{
  atomic_fetch_add (&destroyed, *(unsigned *) value);
}

static struct thread_slot test_slot = THREAD_SLOT_INITIALIZER (destroy_value);

struct slot_user {
  struct thread thread;
  unsigned value; /* 0: it sets none */
  bool is_wrong;
};

static void
slot_user_main (void *arg)
{
  struct slot_user *u = arg;

  u->is_wrong = thread_slot_get (&test_slot) != NULL;
  if (u->value == 0)
    return;
  u->is_wrong |= thread_slot_set (&test_slot, &u->value) != 0;
  u->is_wrong |= thread_slot_get (&test_slot) != &u->value;
}

static void
use_slot (void)
{
  struct slot_user users[3] = { { .value = 1 },
                                { .value = 0 },
                                { .value = 16 } };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (users); ++i)
    ck_assert_int_eq (thread_start (&users[i].thread, "user", slot_user_main,
                                    &users[i]),
                      0);
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    thread_join (&users[i].thread);
    ck_assert (!users[i].is_wrong);
  }
}

START_TEST (each_thread_has_its_own_pointer)
{
  unsigned mine = 256;

  ck_assert_ptr_null (thread_slot_get (&test_slot));
  use_slot ();
  ck_assert_uint_eq (atomic_load (&destroyed), 17);
  ck_assert_int_eq (thread_slot_set (&test_slot, &mine), 0);
  use_slot ();
  ck_assert_uint_eq (atomic_load (&destroyed), 34);
  ck_assert_ptr_eq (thread_slot_get (&test_slot), &mine);
  thread_slot_delete (&test_slot);
  ck_assert_ptr_null (thread_slot_get (&test_slot));
  ck_assert_uint_eq (atomic_load (&destroyed), 34);
  /* It can be used again. */
  use_slot ();
  ck_assert_uint_eq (atomic_load (&destroyed), 51);
  thread_slot_delete (&test_slot);
}
END_TEST

START_TEST (a_child_has_another_number)
{
  unsigned number = process_number ();
  int status;
  pid_t pid;

  ck_assert_uint_eq (process_number (), number);
  pid = fork ();
  ck_assert_int_ge (pid, 0);
  if (pid == 0)
    _exit (process_number () != number ? 0 : 1);
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFEXITED (status) && WEXITSTATUS (status) == 0);
  ck_assert_uint_eq (process_number (), number);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    list_pushes_and_pops,
    list_splices,
    list_walk_may_remove,
    bits_powers,
    bits_rounding,
    checked_arithmetic,
    checked_ranges,
    clock_goes_forward,
    clock_formats,
    log_reaches_the_sink,
    log_reaches_the_program,
    repeated_messages_are_limited,
    messages_that_were_left_out_are_counted,
    log_quotes_the_ends,
    errno_has_text,
    threads_exclude_each_other,
    conditions_wake,
    conditions_have_deadlines,
    a_deadline_far_away_does_not_pass,
    thread_start_fails_cleanly,
    each_thread_has_its_own_pointer,
    a_child_has_another_number,
    NULL,
  };

  return unit_main ("floor0", tests);
}
