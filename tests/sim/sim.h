/* The simulated machine: chance, time, fibers, and who runs next.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One seed decides everything.  Exactly one fiber runs; another can only
 * run when this one comes to a scheduling point.  Time stands still while
 * code runs, goes on a little at each scheduling point, and jumps when all
 * fibers wait.
 */

#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fiber;

/*----- chance ----------------------------------------------------------*/

uint64_t sim_random (void);

/* A number below N, which is not 0. */
unsigned sim_below (unsigned n);

/* True once in N times, on average; never, if N is 0. */
bool sim_one_in (unsigned n);

/* A number below N that enumeration goes through, one after the other:
 * outside of it, as sim_below.
 */
unsigned sim_choose (unsigned n);

/* Begin to enumerate the combinations of what sim_choose returns, at most
 * MAX of them; beyond that they are left to chance.  Go on to the next:
 * false if there is none.  Both for the time until sim_choose_end.
 */
void sim_choose_begin (unsigned max);
bool sim_choose_next (void);
void sim_choose_end (void);
bool sim_is_choosing (void);

/*----- the machine -----------------------------------------------------*/

/* How fibers are chosen. */
struct sim_policy {
  unsigned switch_one_in; /* at a scheduling point: go to another one */
  bool by_priority;       /* always the same ones first; see priority_one_in */
  unsigned priority_one_in; /* the one that runs becomes the last */
  unsigned spurious_one_in; /* waits that end for no reason */
  uint64_t max_points;      /* more than so many: it does not end */
};

/* Begin anew with SEED.  The caller becomes the first fiber, "main". */
void sim_begin (uint64_t seed, bool is_traced);
void sim_set_policy (const struct sim_policy *policy);

/* One in so many threads cannot be started; 0: all can. */
void sim_set_thread_errors (unsigned one_in);

/* All fibers but the first must have ended.  Returns a hash of all that
 * has happened.
 */
uint64_t sim_end (void);

uint64_t sim_seed (void);
uint64_t sim_now_ns (void);

/* Scheduling points so far. */
uint64_t sim_points (void);

/* Called at the scheduling point number POINT, once, by the fiber that
 * comes there; 0: not.
 */
void sim_at_point (uint64_t point, void (*fn) (void));

/* Something is about to change what is on the disks, or what a client
 * knows.
 */
void sim_event (void);

/* Events since the last call; call FN at the one with the number EVENT from
 * now on, counted from 1; 0: not.
 */
unsigned sim_at_event (unsigned event, void (*fn) (void));

/* Numbers that rise with every event: what came first? */
uint64_t sim_tick (void);

/*----- fibers ----------------------------------------------------------*/

struct fiber *sim_self (void);
unsigned sim_fiber_id (const struct fiber *fiber);

/* Start one: no scheduling point.  NAME is copied, and cut. */
struct fiber *sim_fiber_start (const char *name, void (*fn) (void *arg),
                               void *arg);

/* Wait for its end, and free it. */
void sim_fiber_join (struct fiber *fiber);

/* A scheduling point: others may run now.  WHAT is a constant text. */
void sim_point (const char *what, const void *object);

/* Wait until sim_wake, or until DEADLINE_NS.  Returns false if the
 * deadline has come.
 */
#define SIM_NEVER UINT64_MAX
bool sim_block (const char *what, const void *object, uint64_t deadline_ns);

/* Wake one fiber, by chance, or all, of those that wait for OBJECT.  Returns
 * how many.
 */
unsigned sim_wake_one (const void *object);
unsigned sim_wake_all (const void *object);

/* What the policy says of this wait, and of this thread. */
bool sim_is_spurious (void);
bool sim_thread_fails (void);

void sim_sleep_ns (const char *what, const void *object, uint64_t ns);

/* The error of nbdkit_set_error, for each fiber its own. */
int *sim_fiber_errno (void);

/*----- telling ---------------------------------------------------------*/

/* A line of the trace, if there is one: no addresses in it. */
void sim_trace (const char *format, ...)
  __attribute__ ((format (printf, 1, 2)));

bool sim_is_traced (void);

/* Make VALUE part of the hash of all that has happened. */
void sim_mix (uint64_t value);

/* A rule is broken: say which, what every fiber does, and how to see it
 * again, and end the program.
 */
_Noreturn void sim_fail (const char *format, ...)
  __attribute__ ((format (printf, 1, 2)));

/* The words behind the program's name in the line that repeats this. */
void sim_set_replay (const char *words);

#endif /* SIM_SIM_H */
