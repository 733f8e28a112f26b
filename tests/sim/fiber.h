/* Fibers: stacks that are switched by hand.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * No system call in a switch.  The stacks are kept for the next fibers.
 */

#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include <stddef.h>

/* One stack, and where it was left. */
struct fiber_stack;

/* The stack that the caller runs on; call it once, first. */
struct fiber_stack *fiber_stack_of_caller (void);

/* A stack on which FN (ARG) begins at the first switch to it.  FN never
 * returns: it ends by a switch to another one.
 */
struct fiber_stack *fiber_stack_get (void (*fn) (void *arg), void *arg);

/* Give back one that is not running and will not be switched to. */
void fiber_stack_put (struct fiber_stack *stack);

/* Leave FROM, the running one, for TO.  Returns when somebody switches to
 * FROM.  IS_LAST: nobody will.
 */
void fiber_switch (struct fiber_stack *from, struct fiber_stack *to,
                   int is_last);

#endif /* SIM_FIBER_H */
