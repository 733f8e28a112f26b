/* A fixed reserve of aligned pages, so that copying never waits for malloc.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_PAGE_POOL_H
#define DMIO_PAGE_POOL_H

#include "dm-io-memory.h"

struct page_pool;

/* Allocate a pool of PAGE_COUNT pages, all of them now.  Returns 0,
 * -ENOMEM, or -EINVAL for no pages or more than PAGE_POOL_MAX.
 */
#define PAGE_POOL_MAX (1U << 20)
int page_pool_create (unsigned page_count, struct page_pool **pool);

/* Free the pool.  All pages must have been put back.  NULL is ignored. */
void page_pool_destroy (struct page_pool *pool);

/* Take COUNT (at least 1) pages: all of them as a list, or NULL when the
 * pool has not so many.  Pages next to each other in memory are given
 * together as far as possible, in rising order.  The caller holds the
 * lock that protects the pool.
 */
struct page_list *page_pool_get (struct page_pool *pool, unsigned count);

/* Put a list back, in any order.  Same lock. */
void page_pool_put (struct page_pool *pool, struct page_list *pages);

/* Pages in all, and pages free now.  Same lock. */
unsigned page_pool_size (const struct page_pool *pool);
unsigned page_pool_free_count (const struct page_pool *pool);

#endif /* DMIO_PAGE_POOL_H */
