/* Copying that also tells why it failed.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The classic end of a job is a bit for each destination.  Who has to say what
 * is to be done needs the errno: a disk that is full is no disk that is dying.
 */

#ifndef DMIO_KCOPYD_ERRORS_H
#define DMIO_KCOPYD_ERRORS_H

#include "kcopyd.h"

/* Negative errnos, each that of the first part of the job that ended with one;
 * 0 where the bit is not set.
 */
struct kcopyd_errors {
  int read;
  int write[KCOPYD_MAX_REGIONS]; /* of the destinations */
};

/* As kcopyd_copy.  ERRORS is the caller's, must last until FN is called, and is
 * filled in before that; it is not looked at by anybody meanwhile.
 */
int kcopyd_copy_errors (struct kcopyd_client *kc, struct io_region *from,
                        unsigned int num_dests, struct io_region *dests,
                        unsigned int flags, kcopyd_notify_fn fn, void *context,
                        struct kcopyd_errors *errors);

#endif /* DMIO_KCOPYD_ERRORS_H */
