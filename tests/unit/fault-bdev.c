/* A disk in memory that fails, blocks, remembers and forgets as told.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * This is the disk: its images, rules and gate.  What its devices do is in
 * fault-bdev-call.c, traces are in fault-trace.c.
 *
 * Invariants, under the disk's lock:
 * (1) durable_seq[s] is the number of the write that made the durable
 *     sector s what it is: an older one never replaces it;
 * (2) the pending list is in the order of the writes' numbers;
 * (3) a waiter is in the list of the gate until it is let go.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "checked-math.h"
#include "fault-bdev-impl.h"

void
fault_die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  (void) fputs ("fault-bdev: ", stderr);
  (void) vfprintf (stderr, format, args);
  (void) fputc ('\n', stderr);
  va_end (args);
  abort ();
}

void *
fault_allocate (size_t size)
{
  size_t rounded = round_up_to (MAX_OF (size, 1), 64);
  void *memory = aligned_alloc (64, rounded);

  if (memory == NULL)
    fault_die ("no memory");
  memset (memory, 0, rounded);
  return memory;
}

static char *
copy_string (const char *s)
{
  size_t bytes = strlen (s) + 1;

  return memcpy (fault_allocate (bytes), s, bytes);
}

/*----- disks -----------------------------------------------------------*/

static struct mutex number_lock = MUTEX_INITIALIZER;
static uint64_t last_number;

struct fault_bdev *
fault_bdev_create (const char *name, sector_t sectors,
                   struct fault_trace *trace)
{
  struct fault_bdev *d = fault_allocate (sizeof *d);

  d->name = copy_string (name);
  d->sectors = sectors;
  d->visible = fault_allocate (sector_to_bytes (sectors));
  d->durable = fault_allocate (sector_to_bytes (sectors));
  d->visible_data = fault_allocate (sectors * sizeof d->visible_data[0]);
  d->durable_data = fault_allocate (sectors * sizeof d->durable_data[0]);
  d->durable_seq = fault_allocate (sectors * sizeof d->durable_seq[0]);
  mutex_init (&d->lock);
  cond_init (&d->gate_opened);
  cond_init (&d->waiter_came);
  list_init (&d->pending);
  list_init (&d->waiters);
  list_init (&d->flying);
  mutex_lock (&number_lock);
  d->number = ++last_number;
  mutex_unlock (&number_lock);
  d->trace = trace;
  if (trace != NULL)
    fault_trace_add_disk (trace);
  return d;
}

static void
pending_free (struct fault_pending *p)
{
  list_remove (&p->link);
  free (p->data);
  free (p);
}

void
fault_bdev_destroy (struct fault_bdev *d)
{
  struct list *link;

  if (d == NULL)
    return;
  if (d->open_count > 0)
    fault_die ("%s: destroyed while it is open", d->name);
  if (d->flying_count > 0)
    fault_die ("%s: destroyed with %u calls in flight", d->name,
               d->flying_count);
  while ((link = list_pop_front (&d->pending)) != NULL)
    pending_free (list_entry (link, struct fault_pending, link));
  if (d->trace != NULL)
    fault_trace_remove_disk (d->trace);
  cond_destroy (&d->waiter_came);
  cond_destroy (&d->gate_opened);
  mutex_destroy (&d->lock);
  free (d->durable_seq);
  free (d->durable_data);
  free (d->visible_data);
  free (d->durable);
  free (d->visible);
  free (d->name);
  free (d);
}

unsigned
fault_bdev_open_count (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  return d->open_count;
}

void
fault_bdev_set_flight (struct fault_bdev *d, enum fault_flight flight)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->flight = flight;
}

unsigned
fault_bdev_flying (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  return d->flying_count;
}

/*----- images ----------------------------------------------------------*/

static void
check_range (const struct fault_bdev *d, sector_t sector, sector_t count)
{
  if (!range_is_inside (sector, count, d->sectors))
    fault_die ("%s: %llu+%llu is not on the disk", d->name,
               (unsigned long long) sector, (unsigned long long) count);
}

void
fault_bdev_load (struct fault_bdev *d, sector_t sector, sector_t count,
                 const void *data)
{
  sector_t s;

  check_range (d, sector, count);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->last_seq++;
  memcpy (d->visible + sector_to_bytes (sector), data, sector_to_bytes (count));
  memcpy (d->durable + sector_to_bytes (sector), data, sector_to_bytes (count));
  for (s = sector; s < sector + count; ++s) {
    d->visible_data[s] = d->durable_data[s] = true;
    d->durable_seq[s] = d->last_seq;
  }
}

void
fault_bdev_look (struct fault_bdev *d, sector_t sector, sector_t count,
                 void *data)
{
  check_range (d, sector, count);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  memcpy (data, d->visible + sector_to_bytes (sector), sector_to_bytes (count));
}

void
fault_bdev_look_durable (struct fault_bdev *d, sector_t sector, sector_t count,
                         void *data)
{
  check_range (d, sector, count);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  memcpy (data, d->durable + sector_to_bytes (sector), sector_to_bytes (count));
}

unsigned
fault_bdev_pending (struct fault_bdev *d)
{
  struct list *pos;
  unsigned n = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  list_for_each (pos, &d->pending)
    ++n;
  return n;
}

/* Sector I of P is on the medium now, unless a later write was there
 * first.  The caller holds the lock.
 */
static void
make_sector_durable (struct fault_bdev *d, const struct fault_pending *p,
                     sector_t i)
{
  sector_t s = p->sector + i;
  unsigned char *to = d->durable + sector_to_bytes (s);

  if (p->seq < d->durable_seq[s]) /* (1) */
    return;
  d->durable_seq[s] = p->seq;
  d->durable_data[s] = !p->is_hole;
  if (p->data == NULL)
    memset (to, 0, SECTOR_SIZE);
  else
    memcpy (to, p->data + sector_to_bytes (i), SECTOR_SIZE);
}

static void
make_durable (struct fault_bdev *d, const struct fault_pending *p)
{
  sector_t i;

  for (i = 0; i < p->count; ++i)
    make_sector_durable (d, p, i);
}

void
fault_copy_vector (const struct iovec *iov, int iovcnt, unsigned char *image,
                   size_t bytes, bool to_image)
{
  int i;

  for (i = 0; i < iovcnt && bytes > 0; ++i) {
    size_t n = MIN_OF (iov[i].iov_len, bytes);

    if (n == 0)
      continue;
    if (to_image)
      memcpy (image, iov[i].iov_base, n);
    else
      memcpy (iov[i].iov_base, image, n);
    image += n;
    bytes -= n;
  }
}

/* What CALL changes, as it will be on the medium; not in the list yet. */
static struct fault_pending *
make_pending_locked (struct fault_bdev *d, const struct fault_call *call,
                     sector_t count)
{
  struct fault_pending *p = fault_allocate (sizeof *p);

  p->seq = ++d->last_seq;
  p->sector = call->sector;
  p->count = count;
  p->is_hole = call->op == FAULT_DISCARD ||
               (call->op == FAULT_ZERO && (call->flags & BDEV_UNMAP));
  if (call->op == FAULT_WRITE) {
    p->data = fault_allocate (sector_to_bytes (count));
    fault_copy_vector (call->iov, call->iovcnt, p->data,
                       sector_to_bytes (count), true);
  }
  list_init (&p->link);
  return p;
}

void
fault_change_locked (struct fault_bdev *d, const struct fault_call *call,
                     sector_t count)
{
  unsigned char *at = d->visible + sector_to_bytes (call->sector);
  struct fault_pending *p;
  sector_t i;

  if (count == 0)
    return;
  p = make_pending_locked (d, call, count);
  if (p->data != NULL)
    memcpy (at, p->data, sector_to_bytes (count));
  else
    memset (at, 0, sector_to_bytes (count));
  for (i = 0; i < count; ++i)
    d->visible_data[call->sector + i] = !p->is_hole;

  list_push_back (&d->pending, &p->link); /* (2) */
  if (call->flags & BDEV_FUA) {
    make_durable (d, p);
    pending_free (p);
  }
}

void
fault_flush_locked (struct fault_bdev *d, uint64_t up_to_seq)
{
  struct list *pos, *tmp;

  list_for_each_safe (pos, tmp, &d->pending) {
    struct fault_pending *p = list_entry (pos, struct fault_pending, link);

    if (p->seq > up_to_seq) /* (2) */
      break;
    make_durable (d, p);
    pending_free (p);
  }
}

static bool
is_change (const struct fault_call *call)
{
  return call->op != FAULT_READ && call->op != FAULT_FLUSH;
}

/* What the call in flight has brought onto the disk at a crash. */
static void
tear_flying_locked (struct fault_bdev *d, const struct fault_flying *f,
                    fault_keep_fn keep, void *context, unsigned index)
{
  struct fault_pending *p = make_pending_locked (d, &f->call, f->call.count);
  sector_t i;

  for (i = 0; keep != NULL && i < p->count; ++i)
    if (keep (context, index, p->sector + i))
      make_sector_durable (d, p, i);
  pending_free (p);
}

void
fault_bdev_crash (struct fault_bdev *d, fault_keep_fn keep, void *context)
{
  struct list *pos, *tmp;
  unsigned index = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  if (d->calls_now > d->flying_count)
    fault_die ("%s: crash with %u blocking calls", d->name,
               d->calls_now - d->flying_count);
  list_for_each_safe (pos, tmp, &d->pending) {
    struct fault_pending *p = list_entry (pos, struct fault_pending, link);
    sector_t i;

    for (i = 0; keep != NULL && i < p->count; ++i)
      if (keep (context, index, p->sector + i))
        make_sector_durable (d, p, i);
    ++index;
    pending_free (p);
  }
  list_for_each (pos, &d->flying) {
    struct fault_flying *f = list_entry (pos, struct fault_flying, link);

    if (!f->is_done && !f->is_lost && is_change (&f->call))
      tear_flying_locked (d, f, keep, context, index++);
    f->is_lost = true;
  }
  memcpy (d->visible, d->durable, sector_to_bytes (d->sectors));
  memcpy (d->visible_data, d->durable_data,
          d->sectors * sizeof d->visible_data[0]);
}

bool
fault_keep_mask (void *context, unsigned index, sector_t sector)
{
  const uint64_t *mask = context;

  (void) sector;
  return index < 64 && (*mask >> index & 1);
}

/*----- rules -----------------------------------------------------------*/

/* True if CALL touches the range; every call touches an empty one. */
static bool
call_touches (const struct fault_call *call, sector_t sector, sector_t count)
{
  return count == 0 ||
         ranges_overlap (call->sector, call->count, sector, count);
}

int
fault_rule_error (const struct fault_rule *rule)
{
  return rule->error != 0 ? rule->error : -EIO;
}

/* Does matching call N, from 0, fail? */
static bool
rule_fails (const struct fault_rule *rule, unsigned n)
{
  if (n < rule->skip)
    return false;
  n -= rule->skip;
  if (rule->every > 1) {
    if (n % rule->every != 0)
      return false;
    n /= rule->every;
  }
  return rule->times == 0 || n < rule->times;
}

const struct fault_rule *
fault_apply_rules_locked (struct fault_bdev *d, const struct fault_call *call,
                          bool at_begin)
{
  const struct fault_rule *fails = NULL;
  unsigned i;

  for (i = 0; i < d->rule_count; ++i) {
    const struct fault_rule *rule = &d->rules[i];
    unsigned n;

    if (rule->at_begin != at_begin || !(call->op & rule->ops) ||
        !call_touches (call, rule->sector, rule->count))
      continue;
    n = d->seen[i]++;
    if (fails == NULL && rule_fails (rule, n))
      fails = rule;
  }
  if (fails != NULL && at_begin && fault_rule_error (fails) == -EAGAIN)
    d->refused++;
  else if (fails != NULL)
    d->failed++;
  return fails;
}

void
fault_bdev_add_rule (struct fault_bdev *d, const struct fault_rule *rule)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  if (d->rule_count == FAULT_RULES_MAX)
    fault_die ("%s: too many rules", d->name);
  d->seen[d->rule_count] = 0;
  d->rules[d->rule_count++] = *rule;
}

void
fault_bdev_heal (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->rule_count = 0;
}

void
fault_bdev_fail_once (struct fault_bdev *d, unsigned ops, unsigned k)
{
  fault_bdev_add_rule (d, &(struct fault_rule){
                            .ops = ops, .skip = k, .times = 1 });
}

void
fault_bdev_fail_from (struct fault_bdev *d, unsigned ops, unsigned k)
{
  fault_bdev_add_rule (d, &(struct fault_rule){ .ops = ops, .skip = k });
}

void
fault_bdev_fail_range (struct fault_bdev *d, unsigned ops, sector_t sector,
                       sector_t count)
{
  fault_bdev_add_rule (d, &(struct fault_rule){
                            .ops = ops, .sector = sector, .count = count });
}

unsigned
fault_bdev_failed (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  return d->failed;
}

unsigned
fault_bdev_refused (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  return d->refused;
}

unsigned
fault_bdev_calls (struct fault_bdev *d, unsigned ops)
{
  unsigned i, n = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  for (i = 0; i < FAULT_OP_KINDS; ++i)
    if (ops >> i & 1)
      n += d->calls[i];
  return n;
}

unsigned
fault_bdev_calls_at_once (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  return d->calls_at_once;
}

/*----- the gate --------------------------------------------------------*/

void
fault_bdev_gate_shut (struct fault_bdev *d, unsigned ops, sector_t sector,
                      sector_t count)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->gate_ops = ops;
  d->gate_sector = sector;
  d->gate_count = count;
}

void
fault_bdev_gate_wait (struct fault_bdev *d, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  while (d->waiting < n)
    cond_wait (&d->waiter_came, &d->lock);
}

unsigned
fault_bdev_gate_waiting (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  return d->waiting;
}

bool
fault_gate_is_shut_locked (const struct fault_bdev *d,
                           const struct fault_call *call)
{
  return (call->op & d->gate_ops) &&
         call_touches (call, d->gate_sector, d->gate_count);
}

void
fault_wait_at_gate_locked (struct fault_bdev *d, const struct fault_call *call)
{
  struct fault_waiter waiter = { .may_go = false };

  if (!fault_gate_is_shut_locked (d, call))
    return;
  list_push_back (&d->waiters, &waiter.link);
  d->waiting++;
  cond_broadcast (&d->waiter_came);
  while (!waiter.may_go)
    cond_wait (&d->gate_opened, &d->lock);
}

/* Let the first N waiters go.  The caller holds the lock. */
static void
let_go_locked (struct fault_bdev *d, unsigned n)
{
  for (; n > 0; --n) {
    struct list *link = list_pop_front (&d->waiters);

    if (link == NULL)
      fault_die ("%s: nobody is waiting at the gate", d->name);
    list_entry (link, struct fault_waiter, link)->may_go = true;
    d->waiting--;
  }
  cond_broadcast (&d->gate_opened);
}

void
fault_bdev_gate_pass (struct fault_bdev *d, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  let_go_locked (d, n);
}

void
fault_bdev_gate_open (struct fault_bdev *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->gate_ops = 0;
  let_go_locked (d, d->waiting);
}
