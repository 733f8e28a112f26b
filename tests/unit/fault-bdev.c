/* A disk in memory that fails, blocks, remembers and forgets as told.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants, under the disk's lock:
 * (1) durable_seq[s] is the number of the write that made the durable
 *     sector s what it is: an older one never replaces it;
 * (2) the pending list is in the order of the writes' numbers;
 * (3) a waiter is in the list of the gate until it is let go.
 *
 * Memory comes from aligned_alloc, so that a test that makes malloc fail
 * does not meet us.
 *
 * Locks: a disk's lock before its trace's.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "checked-math.h"
#include "fault-bdev.h"
#include "list.h"
#include "sync.h"

#define OP_KINDS 5
#define GARBAGE 0xe5

static void die (const char *format, ...)
  __attribute__ ((format (printf, 1, 2), noreturn));

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  (void) fputs ("fault-bdev: ", stderr);
  (void) vfprintf (stderr, format, args);
  (void) fputc ('\n', stderr);
  va_end (args);
  abort ();
}

/* SIZE bytes of zeroes. */
static void *
allocate (size_t size)
{
  size_t rounded = round_up_to (MAX_OF (size, 1), 64);
  void *memory = aligned_alloc (64, rounded);

  if (memory == NULL)
    die ("no memory");
  memset (memory, 0, rounded);
  return memory;
}

static char *
copy_string (const char *s)
{
  size_t bytes = strlen (s) + 1;

  return memcpy (allocate (bytes), s, bytes);
}

/*----- traces ----------------------------------------------------------*/

struct fault_trace {
  struct mutex lock;
  struct fault_event *events;
  size_t count;
  size_t capacity;

  /* The power is cut when so many more events of these kinds have been. */
  bool is_armed;
  bool is_cut;
  unsigned cut_ops;
  unsigned cut_left;

  unsigned disks;
};

struct fault_trace *
fault_trace_create (void)
{
  struct fault_trace *trace = allocate (sizeof *trace);

  mutex_init (&trace->lock);
  return trace;
}

void
fault_trace_destroy (struct fault_trace *trace)
{
  if (trace == NULL)
    return;
  if (trace->disks > 0)
    die ("a trace is destroyed before %u of its disks", trace->disks);
  mutex_destroy (&trace->lock);
  free (trace->events);
  free (trace);
}

size_t
fault_trace_count (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  return trace->count;
}

struct fault_event
fault_trace_event (struct fault_trace *trace, size_t i)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  if (i >= trace->count)
    die ("event %zu of %zu", i, trace->count);
  return trace->events[i];
}

void
fault_trace_reset (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->count = 0;
}

void
fault_trace_cut_power (struct fault_trace *trace, unsigned ops, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->is_armed = true;
  trace->is_cut = false;
  trace->cut_ops = ops;
  trace->cut_left = n;
}

bool
fault_trace_power_is_cut (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  return trace->is_cut;
}

void
fault_trace_power_on (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->is_armed = trace->is_cut = false;
}

static void
append_event_locked (struct fault_trace *trace, const struct fault_event *event)
{
  if (trace->count == trace->capacity) {
    size_t capacity = MAX_OF (2 * trace->capacity, 64);
    struct fault_event *events = allocate (capacity * sizeof *events);

    if (trace->count > 0)
      memcpy (events, trace->events, trace->count * sizeof *events);
    free (trace->events);
    trace->events = events;
    trace->capacity = capacity;
  }
  trace->events[trace->count++] = *event;
}

/* Record EVENT and return its error, or -EIO if there is no power. */
static int
trace_event (struct fault_trace *trace, const struct fault_event *event)
{
  if (trace == NULL)
    return event->error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  if (trace->is_armed && !trace->is_cut && (event->op & trace->cut_ops)) {
    if (trace->cut_left == 0)
      trace->is_cut = true;
    else
      trace->cut_left--;
  }
  if (trace->is_cut &&
      (event->op != FAULT_READ || (trace->cut_ops & FAULT_READ)))
    return -EIO;
  append_event_locked (trace, event);
  return event->error;
}

/*----- disks -----------------------------------------------------------*/

struct pending_write {
  struct list link;
  uint64_t seq;
  sector_t sector;
  sector_t count;
  bool is_hole;
  unsigned char *data; /* NULL: zeroes */
};

struct waiter {
  struct list link;
  bool may_go;
};

struct fault_bdev {
  char *name;
  uint64_t number; /* of the disk, for bdev_identity */
  sector_t sectors;
  struct fault_trace *trace;

  struct mutex lock;
  unsigned open_count;

  unsigned char *visible;
  bool *visible_data; /* of each sector: not a hole */
  unsigned char *durable;
  bool *durable_data;
  uint64_t *durable_seq; /* (1) */
  uint64_t last_seq;
  struct list pending; /* (2) */

  unsigned rule_count;
  struct fault_rule rules[FAULT_RULES_MAX];
  unsigned seen[FAULT_RULES_MAX]; /* calls that matched each rule */
  unsigned failed;
  unsigned calls[OP_KINDS];
  unsigned calls_now;
  unsigned calls_at_once;

  unsigned gate_ops;
  sector_t gate_sector;
  sector_t gate_count;
  struct list waiters; /* (3) */
  unsigned waiting;
  struct cond gate_opened;
  struct cond waiter_came;
};

static struct mutex number_lock = MUTEX_INITIALIZER;
static uint64_t last_number;

struct fault_bdev *
fault_bdev_create (const char *name, sector_t sectors,
                   struct fault_trace *trace)
{
  struct fault_bdev *d = allocate (sizeof *d);

  d->name = copy_string (name);
  d->sectors = sectors;
  d->visible = allocate (sector_to_bytes (sectors));
  d->durable = allocate (sector_to_bytes (sectors));
  d->visible_data = allocate (sectors * sizeof d->visible_data[0]);
  d->durable_data = allocate (sectors * sizeof d->durable_data[0]);
  d->durable_seq = allocate (sectors * sizeof d->durable_seq[0]);
  mutex_init (&d->lock);
  cond_init (&d->gate_opened);
  cond_init (&d->waiter_came);
  list_init (&d->pending);
  list_init (&d->waiters);
  mutex_lock (&number_lock);
  d->number = ++last_number;
  mutex_unlock (&number_lock);
  d->trace = trace;
  if (trace != NULL) {
    mutex_lock (&trace->lock);
    trace->disks++;
    mutex_unlock (&trace->lock);
  }
  return d;
}

static void
pending_free (struct pending_write *p)
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
    die ("%s: destroyed while it is open", d->name);
  while ((link = list_pop_front (&d->pending)) != NULL)
    pending_free (list_entry (link, struct pending_write, link));
  if (d->trace != NULL) {
    mutex_lock (&d->trace->lock);
    d->trace->disks--;
    mutex_unlock (&d->trace->lock);
  }
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

/*----- images ----------------------------------------------------------*/

static void
check_range (const struct fault_bdev *d, sector_t sector, sector_t count)
{
  if (!range_is_inside (sector, count, d->sectors))
    die ("%s: %llu+%llu is not on the disk", d->name,
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
make_sector_durable (struct fault_bdev *d, const struct pending_write *p,
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
make_durable (struct fault_bdev *d, const struct pending_write *p)
{
  sector_t i;

  for (i = 0; i < p->count; ++i)
    make_sector_durable (d, p, i);
}

void
fault_bdev_crash (struct fault_bdev *d, fault_keep_fn keep, void *context)
{
  struct list *pos, *tmp;
  unsigned index = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  if (d->calls_now > 0)
    die ("%s: crash with %u calls in flight", d->name, d->calls_now);
  list_for_each_safe (pos, tmp, &d->pending) {
    struct pending_write *p = list_entry (pos, struct pending_write, link);
    sector_t i;

    for (i = 0; keep != NULL && i < p->count; ++i)
      if (keep (context, index, p->sector + i))
        make_sector_durable (d, p, i);
    ++index;
    pending_free (p);
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

void
fault_bdev_add_rule (struct fault_bdev *d, const struct fault_rule *rule)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  if (d->rule_count == FAULT_RULES_MAX)
    die ("%s: too many rules", d->name);
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
fault_bdev_calls (struct fault_bdev *d, unsigned ops)
{
  unsigned i, n = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  for (i = 0; i < OP_KINDS; ++i)
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

/* Let the first N waiters go.  The caller holds the lock. */
static void
let_go_locked (struct fault_bdev *d, unsigned n)
{
  for (; n > 0; --n) {
    struct list *link = list_pop_front (&d->waiters);

    if (link == NULL)
      die ("%s: nobody is waiting at the gate", d->name);
    list_entry (link, struct waiter, link)->may_go = true;
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

/*----- calls -----------------------------------------------------------*/

struct call {
  enum fault_op op;
  sector_t sector;
  sector_t count;
  unsigned flags;
  const struct iovec *iov; /* of reads and writes */
  int iovcnt;
};

/* True if CALL touches the range; every call touches an empty one. */
static bool
call_touches (const struct call *call, sector_t sector, sector_t count)
{
  return count == 0 ||
         ranges_overlap (call->sector, call->count, sector, count);
}

static void
wait_at_gate_locked (struct fault_bdev *d, const struct call *call)
{
  struct waiter waiter = { .may_go = false };

  if (!(call->op & d->gate_ops) ||
      !call_touches (call, d->gate_sector, d->gate_count))
    return;
  list_push_back (&d->waiters, &waiter.link);
  d->waiting++;
  cond_broadcast (&d->waiter_came);
  while (!waiter.may_go)
    cond_wait (&d->gate_opened, &d->lock);
}

/* The rule that makes CALL fail, or NULL.  All that match count it. */
static const struct fault_rule *
apply_rules_locked (struct fault_bdev *d, const struct call *call)
{
  const struct fault_rule *fails = NULL;
  unsigned i;

  for (i = 0; i < d->rule_count; ++i) {
    const struct fault_rule *rule = &d->rules[i];
    unsigned n;

    if (!(call->op & rule->ops) ||
        !call_touches (call, rule->sector, rule->count))
      continue;
    n = d->seen[i]++;
    if (fails == NULL && n >= rule->skip &&
        (rule->times == 0 || n - rule->skip < rule->times))
      fails = rule;
  }
  if (fails != NULL)
    d->failed++;
  return fails;
}

/* Copy between the vector and BYTES of an image. */
static void
copy_vector (const struct iovec *iov, int iovcnt, unsigned char *image,
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

static void
fill_vector_with_garbage (const struct iovec *iov, int iovcnt)
{
  int i;

  for (i = 0; i < iovcnt; ++i)
    if (iov[i].iov_len > 0)
      memset (iov[i].iov_base, GARBAGE, iov[i].iov_len);
}

/* Change the first COUNT sectors that CALL is about. */
static void
change_locked (struct fault_bdev *d, const struct call *call, sector_t count)
{
  unsigned char *at = d->visible + sector_to_bytes (call->sector);
  struct pending_write *p;
  sector_t i;

  if (count == 0)
    return;
  p = allocate (sizeof *p);
  p->seq = ++d->last_seq;
  p->sector = call->sector;
  p->count = count;
  p->is_hole = call->op == FAULT_DISCARD ||
               (call->op == FAULT_ZERO && (call->flags & BDEV_UNMAP));
  if (call->op == FAULT_WRITE) {
    p->data = allocate (sector_to_bytes (count));
    copy_vector (call->iov, call->iovcnt, at, sector_to_bytes (count), true);
    memcpy (p->data, at, sector_to_bytes (count));
  }
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

static void
flush_locked (struct fault_bdev *d, uint64_t up_to_seq)
{
  struct list *pos, *tmp;

  list_for_each_safe (pos, tmp, &d->pending) {
    struct pending_write *p = list_entry (pos, struct pending_write, link);

    if (p->seq > up_to_seq) /* (2) */
      break;
    make_durable (d, p);
    pending_free (p);
  }
}

static int
perform (struct fault_bdev *d, const struct call *call)
{
  const struct fault_rule *fails;
  struct fault_event event = {
    .disk = d,
    .op = call->op,
    .sector = call->sector,
    .count = call->count,
    .flags = call->flags,
  };
  bool has_power = true;
  uint64_t seq;
  int r;

  mutex_lock (&d->lock);
  d->calls[log2_of (call->op)]++;
  d->calls_now++;
  d->calls_at_once = MAX_OF (d->calls_at_once, d->calls_now);
  seq = d->last_seq;

  wait_at_gate_locked (d, call);
  fails = apply_rules_locked (d, call);
  if (fails != NULL)
    event.error = fails->error != 0 ? fails->error : -EIO;
  r = trace_event (d->trace, &event);
  if (r != event.error)
    has_power = false;

  if (call->op == FAULT_READ) {
    if (r == 0)
      copy_vector (call->iov, call->iovcnt,
                   d->visible + sector_to_bytes (call->sector),
                   sector_to_bytes (call->count), false);
    else
      fill_vector_with_garbage (call->iov, call->iovcnt);
  }
  else if (call->op == FAULT_FLUSH) {
    if (r == 0)
      flush_locked (d, seq);
  }
  else if (r == 0)
    change_locked (d, call, call->count);
  else if (fails != NULL && has_power)
    change_locked (d, call, MIN_OF (fails->sectors_done, call->count));

  d->calls_now--;
  mutex_unlock (&d->lock);
  return r;
}

static sector_t
vector_sectors (const struct iovec *iov, int iovcnt)
{
  size_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes >> SECTOR_SHIFT;
}

static int
fault_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct call call = {
    .op = FAULT_READ,
    .sector = sector,
    .count = vector_sectors (iov, iovcnt),
    .iov = iov,
    .iovcnt = iovcnt,
  };

  return perform (handle, &call);
}

static int
fault_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
             unsigned flags)
{
  struct call call = {
    .op = FAULT_WRITE,
    .sector = sector,
    .count = vector_sectors (iov, iovcnt),
    .flags = flags,
    .iov = iov,
    .iovcnt = iovcnt,
  };

  return perform (handle, &call);
}

static int
fault_flush (void *handle)
{
  return perform (handle, &(struct call){ .op = FAULT_FLUSH });
}

static int
fault_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct call call = {
    .op = FAULT_DISCARD,
    .sector = sector,
    .count = count,
    .flags = flags,
  };

  return perform (handle, &call);
}

static int
fault_write_zeroes (void *handle, sector_t sector, sector_t count,
                    unsigned flags)
{
  struct call call = {
    .op = FAULT_ZERO,
    .sector = sector,
    .count = count,
    .flags = flags,
  };

  return perform (handle, &call);
}

static int
fault_extent (void *handle, sector_t sector, sector_t count,
              struct bdev_extent *extent)
{
  struct fault_bdev *d = handle;
  sector_t n = 1;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  while (n < count && d->visible_data[sector + n] == d->visible_data[sector])
    ++n;
  extent->count = n;
  extent->is_hole = !d->visible_data[sector];
  return 0;
}

static int
fault_identity (void *handle, struct bdev_identity *identity)
{
  struct fault_bdev *d = handle;

  memset (identity, 0, sizeof *identity);
  identity->inode = d->number;
  return 0;
}

static void
fault_close (void *handle)
{
  struct fault_bdev *d = handle;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->open_count--;
}

/* One table for each of the four sets of flags. */
#define BARE_OPS \
  .struct_size = sizeof (struct bdev_ops), .read = fault_read, \
  .close = fault_close
#define FULL_OPS \
  BARE_OPS, .flush = fault_flush, .extent = fault_extent, \
            .identity = fault_identity

static const struct bdev_ops fault_ops[] = {
  [0] = {
    FULL_OPS,
    .write = fault_write,
    .discard = fault_discard,
    .write_zeroes = fault_write_zeroes,
  },
  [FAULT_OPEN_READ_ONLY] = { FULL_OPS },
  [FAULT_OPEN_BARE] = { BARE_OPS, .write = fault_write },
  [FAULT_OPEN_BARE | FAULT_OPEN_READ_ONLY] = { BARE_OPS },
};

struct block_device *
fault_bdev_open (struct fault_bdev *d, unsigned flags)
{
  struct block_device *bdev;
  int r;

  if (flags >= ARRAY_COUNT (fault_ops))
    die ("%s: unknown flags %#x", d->name, flags);
  r = bdev_create (&fault_ops[flags], d, d->name, d->sectors, &bdev);
  if (r < 0)
    die ("%s: bdev_create: %s", d->name, strerror (-r));
  mutex_lock (&d->lock);
  d->open_count++;
  mutex_unlock (&d->lock);
  return bdev;
}

/*----- traces as text --------------------------------------------------*/

static void
print_event (FILE *out, const struct fault_event *e)
{
  static const char *const names[OP_KINDS] = {
    "read", "write", "flush", "discard", "zero",
  };

  fprintf (out, "%s %s", e->disk->name, names[log2_of (e->op)]);
  if (e->op != FAULT_FLUSH)
    fprintf (out, " %llu+%llu", (unsigned long long) e->sector,
             (unsigned long long) e->count);
  if (e->flags & BDEV_FUA)
    fputs (" fua", out);
  if (e->flags & BDEV_UNMAP)
    fputs (" unmap", out);
  if (e->flags & BDEV_FAST)
    fputs (" fast", out);
  if (e->error != 0)
    fprintf (out, " %d", e->error);
}

char *
fault_trace_text (struct fault_trace *trace, unsigned ops)
{
  const char *separator = "";
  char *text = NULL;
  size_t bytes, i;
  FILE *out = open_memstream (&text, &bytes);

  if (out == NULL)
    die ("no memory");

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  for (i = 0; i < trace->count; ++i) {
    const struct fault_event *e = &trace->events[i];

    if (!(e->op & ops))
      continue;
    fputs (separator, out);
    print_event (out, e);
    separator = ", ";
  }
  if (fclose (out) != 0)
    die ("no memory");
  return text;
}
