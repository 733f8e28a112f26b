/* Simulated disks: they fail, stall, tear, reorder, and forget.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk knows for every sector what is durable, and all that was written
 * since, in order.  A read sees the newest.  A flush makes durable what had
 * completed when it was issued.  When the power fails each sector keeps,
 * on its own, what was durable or any of what was written since, by
 * requests in flight too.  When only the program is killed each sector of
 * a request in flight has been written or not, and nothing else is lost.
 *
 * A request is two scheduling points and a wait.  Its effect comes at any
 * moment in between, possibly in two parts.  Memory that is being written
 * must not change meanwhile: that is checked.
 */

#ifndef SIM_DISK_SIM_H
#define SIM_DISK_SIM_H

#include "block-device.h"

struct sim_disk;

/* Kinds of calls. */
enum sim_op {
  SIM_READ,
  SIM_WRITE,
  SIM_FLUSH,
  SIM_ZERO, /* write zeroes, discard */
  SIM_OPS,
};

/* When calls of one kind fail. */
struct sim_fault {
  unsigned one_in; /* by chance; 0: never */
  unsigned after;  /* so many calls pass, then ... */
  unsigned count;  /* ... so many fail; 0: none */
};

#define SIM_FOR_EVER 0x7fffffffU

/* What is wrong with a disk.  All zero: nothing. */
struct sim_disk_faults {
  struct sim_fault ops[SIM_OPS];
  unsigned gone_after;   /* calls; then it is gone; 0: never */
  unsigned slow;         /* so many times slower; 0: not */
  unsigned stall_one_in; /* calls that take very long */
  sector_t bad_sector;   /* reads of these fail until they are written */
  sector_t bad_count;
  sector_t space; /* sectors that can be allocated; 0: all */
};

/* Of all calls of all disks that are to come number CALL fails, counted from 1;
 * and, if IS_FOR_EVER, all later ones of its kind and disk; 0: none does.
 * Returns how many calls there were since this was said last.
 */
unsigned sim_disks_fail_call (unsigned call, bool is_for_ever);

/* How a disk can be used.  All zero: it has every slot, none in flight. */
struct sim_disk_kind {
  bool can_begin; /* has begin and end */
  bool is_bare;   /* no discard, write_zeroes, extent */
  bool no_fast;   /* BDEV_FAST is -EOPNOTSUPP */
};

/* What has been done to the disks, since the program began. */
struct sim_disk_counters {
  uint64_t reads, writes, flushes;
  uint64_t failed[SIM_OPS];
  uint64_t crashes, kills;
  uint64_t torn_writes;   /* of which a crash kept a part */
  uint64_t lost_sectors;  /* newest contents that a crash took away */
  uint64_t stale_sectors; /* for which it kept neither oldest nor newest */
  uint64_t gone;          /* disks that went away */
};
extern struct sim_disk_counters sim_disk_counters;

/* NAME, copied, is used in messages and traces; NUMBER is the inode's. */
struct sim_disk *sim_disk_create (const char *name, uint64_t number,
                                  sector_t sectors);
void sim_disk_destroy (struct sim_disk *disk);

const char *sim_disk_name (const struct sim_disk *disk);
uint64_t sim_disk_number (const struct sim_disk *disk);
sector_t sim_disk_sectors (const struct sim_disk *disk);
void sim_disk_set_faults (struct sim_disk *disk,
                          const struct sim_disk_faults *faults);
void sim_disk_set_kind (struct sim_disk *disk,
                        const struct sim_disk_kind *kind);

/* Open a device.  A flush that failed fails for ever on this one. */
int sim_disk_open (struct sim_disk *disk, const char *name, bool is_read_only,
                   void (*closed) (void *opaque), void *opaque,
                   struct block_device **bdev);

/* Make all that was written durable: fsync of the file that it is. */
int sim_disk_sync (struct sim_disk *disk);

/* The newest contents. */
void sim_disk_look (const struct sim_disk *disk, sector_t sector,
                    sector_t count, void *data);

/* True if half HALF, counted from 0, of the disk's newest contents is one
 * word, *WORD, again and again.
 */
bool sim_disk_look_word (const struct sim_disk *disk, uint64_t half,
                         uint64_t *word);

/* How many sectors from SECTOR on, COUNT at most, hold the same on A and B
 * before the first that does not.
 */
sector_t sim_disk_compare (const struct sim_disk *a, const struct sim_disk *b,
                           sector_t sector, sector_t count);

/* Let a sector hold something else, durably, and say nothing. */
void sim_disk_spoil (struct sim_disk *disk, sector_t sector);

/* True, once, if a flush has failed: what it was to make durable may be
 * gone without a power failure.
 */
bool sim_disk_take_lost (struct sim_disk *disk);

/* When it was last written to. */
uint64_t sim_disk_modified_ns (const struct sim_disk *disk);

/* The end of the program, in the middle of everything.  All requests in
 * flight fail when they are waited for, as all that come do.
 */
enum sim_crash {
  SIM_POWER_FAILS,
  SIM_KILLED,
};
void sim_disk_crash (struct sim_disk *disk, enum sim_crash how);

/* Of all disks, and files. */
bool sim_power_is_on (void);
void sim_set_power (bool is_on);

#endif /* SIM_DISK_SIM_H */
