/* What a diff of two devices may say.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "model-impl.h"
#include "sim.h"

/* True if a read OP may return STAMP in UNIT. */
static bool
may_return (const struct model_op *op, unsigned unit, uint32_t stamp)
{
  const struct version *v = op->device->map[unit];
  uint64_t dead = model_dead_before (v, op->issued);

  for (; v != NULL; v = v->next)
    if (v->stamp == stamp && v->ended >= dead && v->excluded >= op->issued)
      return true;
  return false;
}

static void
check_same (const struct model_diff *diff, unsigned unit)
{
  const struct model_op *newer = &diff->newer;
  const struct version *v;

  model_counters.units_same++;
  if (model_is_rolled_back (newer))
    return;
  for (v = newer->device->map[unit]; v != NULL; v = v->next)
    if (may_return (newer, unit, v->stamp) &&
        may_return (&diff->older, unit, v->stamp))
      return;
  model_explain_unit (diff->older.device, unit);
  model_explain_unit (newer->device, unit);
  sim_fail ("%s..%s: no difference in unit %u, where there is one",
            diff->older.device->name, newer->device->name, unit);
}

static void
check_diff_unit (const struct model_diff *diff, unsigned unit)
{
  const char *data = (const char *) diff->data +
                     (size_t) unit * MODEL_UNIT_BYTES;

  sim_mix (diff->was_hole[unit]);
  if (diff->was_hole[unit] || diff->is_hole[unit])
    check_same (diff, unit);
  if (diff->was_hole[unit] != diff->is_hole[unit])
    return; /* it became different, or a roll-back came to its end */
  if (!diff->is_hole[unit]) {
    model_counters.units_different++;
    model_check_unit (&diff->newer, unit, data);
  }
  else if (model_decode (diff->newer.device, unit, data, "diff") != 0)
    sim_fail ("%s..%s: unit %u is a hole, and no zeroes",
              diff->older.device->name, diff->newer.device->name, unit);
}

void
model_end_diff (struct model_diff *diff, int error)
{
  unsigned i;

  model_forget_op (&diff->older);
  model_forget_op (&diff->newer);
  model_counters.diffs++;
  for (i = 0; error == 0 && i < diff->newer.count; ++i)
    check_diff_unit (diff, i);
}
