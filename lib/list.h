/* An intrusive, circular, doubly linked list.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The caller holds whatever lock protects the list.
 */

#ifndef DMIO_LIST_H
#define DMIO_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A list's head, and the link inside each element. */
struct list {
  struct list *next;
  struct list *prev;
};

#define LIST_INITIALIZER(name) \
  { \
    &(name), &(name) \
  }

/* The structure of TYPE whose MEMBER is the link LINK. */
#define list_entry(link, type, member) \
  ((type *) ((char *) (link) -offsetof (type, member)))

/* Walk every link of HEAD; the body must not remove POS. */
#define list_for_each(pos, head) \
  for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

/* Walk every link of HEAD; the body may remove POS. */
#define list_for_each_safe(pos, tmp, head) \
  for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head); \
       (pos) = (tmp), (tmp) = (pos)->next)

static inline void
list_init (struct list *head)
{
  head->next = head->prev = head;
}

static inline bool
list_is_empty (const struct list *head)
{
  return head->next == head;
}

static inline void
list_insert_between (struct list *link, struct list *prev, struct list *next)
{
  next->prev = link;
  link->next = next;
  link->prev = prev;
  prev->next = link;
}

/* Add LINK in front of all elements. */
static inline void
list_push_front (struct list *head, struct list *link)
{
  list_insert_between (link, head, head->next);
}

/* Add LINK behind all elements. */
static inline void
list_push_back (struct list *head, struct list *link)
{
  list_insert_between (link, head->prev, head);
}

/* Take LINK out of its list; the link is left empty. */
static inline void
list_remove (struct list *link)
{
  link->prev->next = link->next;
  link->next->prev = link->prev;
  list_init (link);
}

/* Take the first link out, or return NULL from an empty list. */
static inline struct list *
list_pop_front (struct list *head)
{
  struct list *link = head->next;

  if (link == head)
    return NULL;
  list_remove (link);
  return link;
}

/* Move all elements of FROM behind those of HEAD. */
static inline void
list_splice_back (struct list *head, struct list *from)
{
  if (list_is_empty (from))
    return;
  from->next->prev = head->prev;
  head->prev->next = from->next;
  from->prev->next = head;
  head->prev = from->prev;
  list_init (from);
}

#endif /* DMIO_LIST_H */
