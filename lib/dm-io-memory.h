/* Memory as dm-io takes it: pages, lists of pages, and vectors.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_DM_IO_MEMORY_H
#define DMIO_DM_IO_MEMORY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of one page of a page list, whatever the processor's pages. */
#define DM_PAGE_SHIFT 12
#define DM_PAGE_SIZE (1U << DM_PAGE_SHIFT)

/* A page of memory.  The type is never defined: a pointer to it is the
 * address of the memory.
 */
struct page;

/* By way of a number, because strict compilers mind a const that is lost. */
static inline void *
page_address (const struct page *page)
{
  return (void *) (uintptr_t) page;
}

static inline struct page *
page_of_address (const void *address)
{
  return (struct page *) (uintptr_t) address;
}

/* A list of pages of DM_PAGE_SIZE bytes each, ended by next == NULL. */
struct page_list {
  struct page_list *next;
  struct page *page;
};

/* One piece of a vector: bv_len bytes at bv_offset behind bv_page.  An
 * array of these needs no count, because the io_region says how much is
 * wanted; an element with bv_page == NULL ends it early, which is an
 * error, not an overrun.
 */
struct bio_vec {
  struct page *bv_page;
  unsigned int bv_len;
  unsigned int bv_offset;
};

#ifdef __cplusplus
}
#endif

#endif /* DMIO_DM_IO_MEMORY_H */
