/* Fibers: stacks that are switched by hand.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * On x86-64 a switch is a few instructions.  Elsewhere it is swapcontext,
 * which makes a system call each time: right, but slower.
 */

#include <config.h>

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fiber.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#include <ucontext.h>
#endif

#define STACK_BYTES ((size_t) 512 * 1024)
#define GUARD_BYTES ((size_t) 64 * 1024)

struct fiber_stack {
  struct fiber_stack *next; /* among those that are free */
  char *memory;             /* NULL: the program's own */
  void (*fn) (void *arg);
  void *arg;
#ifdef __x86_64__
  void *sp;
#else
  ucontext_t context;
#endif
  const void *asan_bottom;
  size_t asan_bytes;
  void *asan_fake;
};

static struct fiber_stack *free_stacks;
static struct fiber_stack *came_from;

struct fiber_stack *
fiber_stack_of_caller (void)
{
  struct fiber_stack *stack = calloc (1, sizeof *stack);

  if (stack == NULL)
    abort ();
  return stack;
}

/*----- the sanitizer's part --------------------------------------------*/

static void
leave (struct fiber_stack *from, struct fiber_stack *to, int is_last)
{
  came_from = from;
#ifdef SIM_ASAN
  __sanitizer_start_switch_fiber (is_last ? NULL : &from->asan_fake,
                                  to->asan_bottom, to->asan_bytes);
#else
  (void) to, (void) is_last;
#endif
}

/* On the stack that was switched to. */
static void
arrive (struct fiber_stack *self)
{
#ifdef SIM_ASAN
  const void *bottom;
  size_t bytes;

  __sanitizer_finish_switch_fiber (self->asan_fake, &bottom, &bytes);
  /* So the program's own becomes known, too. */
  came_from->asan_bottom = bottom;
  came_from->asan_bytes = bytes;
#else
  (void) self;
#endif
}

/*----- switching -------------------------------------------------------*/

static struct fiber_stack *starting;

__attribute__ ((noreturn, used)) static void
begin (void)
{
  struct fiber_stack *self = starting;

  self->asan_fake = NULL;
  arrive (self);
  self->fn (self->arg);
  abort ();
}

#ifdef __x86_64__

void sim_switch_stack (void **save_sp, void *sp);

/* What the ABI lets a function change is saved by the caller. */
__asm__(".text\n"
        ".globl sim_switch_stack\n"
        ".hidden sim_switch_stack\n"
        ".type sim_switch_stack, @function\n"
        "sim_switch_stack:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size sim_switch_stack, . - sim_switch_stack\n");

static void
prepare (struct fiber_stack *stack)
{
  uintptr_t top = (uintptr_t) stack->memory + GUARD_BYTES + STACK_BYTES;
  uintptr_t *sp = (uintptr_t *) (top - 64);

  /* As after a call: the return address is at 8 modulo 16. */
  *--sp = 0;
  *--sp = (uintptr_t) begin;
  stack->sp = sp - 6;
}

static void
do_switch (struct fiber_stack *from, struct fiber_stack *to)
{
  sim_switch_stack (&from->sp, to->sp);
}

#else

static void
prepare (struct fiber_stack *stack)
{
  if (getcontext (&stack->context) == -1)
    abort ();
  stack->context.uc_stack.ss_sp = stack->memory + GUARD_BYTES;
  stack->context.uc_stack.ss_size = STACK_BYTES;
  stack->context.uc_link = NULL;
  makecontext (&stack->context, begin, 0);
}

static void
do_switch (struct fiber_stack *from, struct fiber_stack *to)
{
  if (swapcontext (&from->context, &to->context) == -1)
    abort ();
}

#endif

void
fiber_switch (struct fiber_stack *from, struct fiber_stack *to, int is_last)
{
  starting = to;
  leave (from, to, is_last);
  do_switch (from, to);
  arrive (from);
}

struct fiber_stack *
fiber_stack_get (void (*fn) (void *arg), void *arg)
{
  struct fiber_stack *stack = free_stacks;

  if (stack != NULL)
    free_stacks = stack->next;
  else {
    stack = calloc (1, sizeof *stack);
    if (stack == NULL)
      abort ();
    stack->memory = mmap (NULL, GUARD_BYTES + STACK_BYTES,
                          PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack->memory == MAP_FAILED ||
        mprotect (stack->memory, GUARD_BYTES, PROT_NONE) == -1)
      abort ();
  }
  stack->fn = fn;
  stack->arg = arg;
  stack->asan_bottom = stack->memory + GUARD_BYTES;
  stack->asan_bytes = STACK_BYTES;
#ifdef SIM_ASAN
  /* What the last one to run on it has left. */
  __asan_unpoison_memory_region (stack->asan_bottom, STACK_BYTES);
#endif
  prepare (stack);
  return stack;
}

void
fiber_stack_put (struct fiber_stack *stack)
{
  stack->next = free_stacks;
  free_stacks = stack;
}
