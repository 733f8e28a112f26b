/* Versions, for the files of the model.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_MODEL_IMPL_H
#define SIM_MODEL_IMPL_H

#include "model.h"

#define NOT_YET UINT64_MAX

struct version {
  struct version *next;
  uint32_t stamp; /* 0: zeroes */
  bool is_acked;
  bool is_durable;
  bool is_survivor; /* its write had ended, somehow, at the last crash */
  bool is_on_disk;  /* a survivor of a power failure */
  uint64_t issued;
  uint64_t ended;
  uint64_t excluded; /* by a read that ended then; NOT_YET */
  bool is_durably_excluded;
  bool is_of_rollback; /* that is going on */
};

struct model_device {
  char name[32];
  struct model_device *origin;            /* while it is being taken */
  struct model_device *next;              /* of those */
  const struct model_device *rollback_of; /* it is rolled back to just now */
  uint64_t rolled_back;                   /* when that ended last */
  unsigned units;
  struct version **map;
};

/* Versions that ended before this are dead for reads issued at TICK. */
uint64_t model_dead_before (const struct version *first, uint64_t tick);

/* Print which versions there are. */
void model_explain_unit (const struct model_device *d, unsigned unit);

/* Which write DATA is of. */
uint32_t model_decode (const struct model_device *d, unsigned unit,
                       const void *data, const char *what);

/* OP, a read, has returned DATA in this unit. */
void model_check_unit (const struct model_op *op, unsigned unit,
                       const void *data);

/* OP, a read, may return anything: its device is being rolled back, or was
 * while it went on.
 */
bool model_is_rolled_back (const struct model_op *op);

/* OP goes on no more. */
void model_forget_op (const struct model_op *op);

#endif /* SIM_MODEL_IMPL_H */
