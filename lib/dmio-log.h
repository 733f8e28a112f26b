/* What libdmio has to say to people.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The library prints nothing.  Where an error number says too little (why a
 * server was refused, that a file was deleted while it is in use) it
 * makes a message, which is dropped unless the program asks for it here.
 */

#ifndef DMIO_LOG_H
#define DMIO_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

enum dmio_log_level {
  DMIO_LOG_DEBUG,   /* of interest to developers */
  DMIO_LOG_INFO,    /* a state changed as was asked for */
  DMIO_LOG_WARNING, /* something is not as the user may believe */
  DMIO_LOG_ERROR,   /* something was lost: a device, a request */
};

/* MESSAGE: one line without a newline, good until this returns.  Called on
 * any thread, possibly with locks of the library held: it must not call the
 * library, and not block for long.
 */
typedef void (*dmio_log_fn) (enum dmio_log_level level, const char *message);

/* Have FN (NULL: nobody) called with each message from now on.  Best before
 * any other call: one that is running may still use what was set before.
 */
void dmio_set_log (dmio_log_fn fn);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_LOG_H */
