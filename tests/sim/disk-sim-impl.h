/* Simulated disks, inside: sectors, requests, and the disk of both.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * disk-sectors.c knows what a sector holds, disk-request.c what happens to
 * it and when, disk-sim.c is the device.
 */

#ifndef SIM_DISK_SIM_IMPL_H
#define SIM_DISK_SIM_IMPL_H

#include <stdbool.h>
#include <sys/uio.h>

#include "disk-sim.h"
#include "list.h"

/* What a sector held, holds, or will. */
struct version {
  struct version *next;
  uint64_t completed;            /* tick of its request's end */
  const struct request *request; /* in flight */
  bool is_hole;
  uint64_t words[2];    /* of which each half consists, again and again ... */
  unsigned char *bytes; /* ... if this is NULL; else all of it */
};

#define IN_FLIGHT UINT64_MAX

struct sector {
  struct version *first; /* durable */
  struct version *last;  /* seen */
  bool is_dirty;         /* in the disk's list of those with more than one */
};

struct request {
  struct list link; /* of those in flight */
  struct sim_disk *disk;
  enum sim_op op;
  unsigned flags;
  sector_t sector;
  sector_t count;
  const struct iovec *iov;
  int iovcnt;
  uint64_t end_ns;
  uint64_t issued; /* tick */
  int error;
  sector_t done;             /* writes: sectors that are seen */
  sector_t limit;            /* so many will be */
  struct version **versions; /* not seen yet: NULL once they are */
  bool is_void;              /* the power has failed since */
};

struct sim_disk {
  char *name;
  uint64_t number;
  sector_t sectors;
  struct sector *map;
  sector_t *dirty;
  sector_t dirty_count;
  sector_t allocated;
  struct list requests;
  struct sim_disk_faults faults;
  struct sim_disk_kind kind;
  unsigned calls[SIM_OPS];
  unsigned all_calls;
  bool is_gone;
  bool has_lost; /* a flush has failed */
  uint64_t modified_ns;
};

/*----- disk-sectors.c --------------------------------------------------*/

/* Nothing was ever written on any of DISK's; and its end. */
void sectors_init (struct sim_disk *disk);
void sectors_free (struct sim_disk *disk);

/* A version, in flight, all zeroes; V may be NULL when it is put. */
struct version *version_get (void);
void version_put (struct version *v);

/* What V holds is BYTES, one sector; copy it; is it?  version_half: is
 * that half of it one word?
 */
void version_store (struct version *v, const unsigned char *bytes);
void version_load (const struct version *v, unsigned char *bytes);
bool version_is (const struct version *v, const unsigned char *bytes);
bool version_half (const struct version *v, unsigned half, uint64_t *word);
bool versions_are_equal (const struct version *a, const struct version *b);

/* V is what is seen of SECTOR from now on. */
void sector_show (struct sim_disk *disk, sector_t sector, struct version *v);

/* RQ, a write of SECTOR that has been seen, ends at TICK; and is durable. */
void sector_complete (struct sim_disk *disk, sector_t sector,
                      const struct request *rq, uint64_t tick);
void sector_settle (struct sim_disk *disk, sector_t sector, uint64_t tick);

/* What had completed at TICK is durable. */
void sectors_settle (struct sim_disk *disk, uint64_t tick);

/* No sector that has one version only stays in the list of dirty ones. */
void sectors_forget_clean (struct sim_disk *disk);

/* All that is seen has completed: its requests will not.  Then each sector
 * loses, by chance, what is not durable.
 */
void sectors_complete_all (struct sim_disk *disk);
void sectors_lose (struct sim_disk *disk);

/*----- disk-request.c --------------------------------------------------*/

/* A request that does not begin yet. */
struct request *request_begin (struct sim_disk *disk, enum sim_op op,
                               sector_t sector, sector_t count, unsigned flags);

/* It is on its way. */
void request_issue (struct request *rq);

/* Wait for the end of RQ, which is then gone.  Returns its error. */
int request_end (struct request *rq);

/* The power has failed: requests in flight may have come to any sector, or
 * not.
 */
void requests_crash (struct sim_disk *disk);

#endif /* SIM_DISK_SIM_IMPL_H */
