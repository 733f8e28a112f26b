/* dmsim: runs the production code on simulated machines, a seed for each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs the seeds that are asked for (options.c has how), and prints what was
 * exercised.  Ends with 1 at the first seed in which a promise is broken,
 * after saying which, and how to see it again.
 */

#include <config.h>

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "disk-sim.h"
#include "enum.h"
#include "file-sim.h"
#include "json-sim.h"
#include "life.h"
#include "model.h"
#include "options.h"
#include "sim.h"
#include "table-world.h"
#include "world.h"

#define MAX_STORIES 200

static struct options options;
static char replay[64];

/* What one process has counted: a row of uint64_t. */
struct counters {
  struct world_counters life;
  struct sim_disk_counters disk;
  struct model_counters model;
  struct table_counters tables;
  uint64_t files_failed;
  uint64_t seed; /* at which it is, and the story */
  uint64_t story;
  struct enum_counters stories[MAX_STORIES];
};

static void
run_seeds (unsigned job, struct counters *counters)
{
  uint64_t stride = (uint64_t) options.jobs * options.every, i;

  /* Whole lines, so that those of several jobs do not mix. */
  if (options.has_hashes)
    (void) setvbuf (stdout, NULL, _IOLBF, 0);
  for (i = (uint64_t) job * options.every; i < options.to - options.from;
       i += stride) {
    uint64_t seed = options.from + i;
    uint64_t hash;

    counters->seed = seed;
    hash = life_run_seed (seed, options.steps, options.is_traced);

    if (options.has_hashes)
      printf ("%" PRIu64 " %016" PRIx64 "\n", seed, hash);
  }
  fflush (stdout);
  counters->life = world_counters;
  counters->disk = sim_disk_counters;
  counters->model = model_counters;
  counters->tables = table_counters;
  counters->files_failed = sim_files_failed;
}

/* Every so-manyth of all pairs of a story and a seed. */
static void
run_stories (unsigned job, struct counters *counters)
{
  uint64_t seed, turn = 0;
  unsigned i;

  for (i = 0; i < enum_count (); ++i)
    for (seed = options.from;
         options_want_story (&options, i) && seed < options.to; ++seed)
      if (turn++ % options.jobs == job) {
        counters->seed = seed;
        counters->story = i;
        enum_run (i, seed, options.is_traced, &counters->stories[i]);
      }
  fflush (stdout);
}

static void
add_up (struct counters *sum, const struct counters *c)
{
  const uint64_t *from_words = (const uint64_t *) c;
  uint64_t *to_words = (uint64_t *) sum;
  size_t i;

  for (i = 0; i < sizeof *sum / sizeof (uint64_t); ++i)
    to_words[i] += from_words[i];
}

static void
print_counters (const struct counters *c, double seconds)
{
  printf ("seeds %" PRIu64 " in %.1f s, %.0f a second and process\n",
          c->life.seeds, seconds,
          (double) c->life.seeds / seconds / (double) options.jobs);
  printf ("lives %" PRIu64 ": orderly stops %" PRIu64
          ", power failures %" PRIu64 ", kills %" PRIu64
          ", of these at the start %" PRIu64 ", refused starts %" PRIu64 "\n",
          c->life.lives, c->life.orderly_stops, c->disk.crashes, c->disk.kills,
          c->life.crashes_at_start, c->life.refused_starts);
  printf ("requests %" PRIu64 ", failed %" PRIu64 "; units read %" PRIu64
          ", of these of more than one value %" PRIu64 ", holes %" PRIu64 "\n",
          c->model.requests, c->model.failed_requests, c->model.units_checked,
          c->model.ambiguous, c->model.holes);
  printf ("I/O: reads %" PRIu64 ", writes %" PRIu64 ", flushes %" PRIu64
          "; failed: reads %" PRIu64 ", writes %" PRIu64 ", flushes %" PRIu64
          ", zeroings %" PRIu64 ", of files %" PRIu64 "\n",
          c->disk.reads, c->disk.writes, c->disk.flushes,
          c->disk.failed[SIM_READ], c->disk.failed[SIM_WRITE],
          c->disk.failed[SIM_FLUSH], c->disk.failed[SIM_ZERO], c->files_failed);
  printf ("crashes: torn writes %" PRIu64 ", sectors lost %" PRIu64
          ", sectors with neither the oldest nor the newest %" PRIu64 "\n",
          c->disk.torn_writes, c->disk.lost_sectors, c->disk.stale_sectors);
  printf ("legs: disks gone %" PRIu64 ", failed %" PRIu64
          ", lost for ever %" PRIu64 ", resyncs waited for %" PRIu64
          ", compared %" PRIu64 "\n",
          c->disk.gone, c->life.leg_failures, c->life.leg_losses,
          c->life.resyncs_waited_for, c->life.legs_compared);
  printf ("legs hidden %" PRIu64 ", degraded starts %" PRIu64
          ", clean regions compared %" PRIu64 "\n",
          c->life.legs_hidden, c->life.degraded_starts, c->life.regions_clean);
  printf ("legs added %" PRIu64 ", replaced %" PRIu64 ", removed %" PRIu64
          ", taken out %" PRIu64 ", rejoined %" PRIu64 "\n",
          c->life.legs_added, c->life.legs_replaced, c->life.legs_removed,
          c->life.legs_taken_out, c->life.legs_rejoined);
  printf ("scrubs %" PRIu64 ", of KiB %" PRIu64
          "; sectors spoiled, and repaired %" PRIu64 "\n",
          c->life.scrubs, c->life.scrubbed_bytes / 1024, c->life.spoiled);
  printf ("snapshots %" PRIu64 ", lost %" PRIu64 ", discarded %" PRIu64
          "; live: taken %" PRIu64 ", removed %" PRIu64 ", renamed %" PRIu64
          ", rolled back %" PRIu64 " and to older ones %" PRIu64 "\n",
          c->life.snapshots, c->life.snapshots_lost,
          c->life.snapshots_discarded, c->life.snapshots_live,
          c->life.removed_live, c->life.renamed_live, c->life.rolled_back,
          c->life.rolled_back_to_older);
  printf ("tables: seeds %" PRIu64 ", lives %" PRIu64 ", snapshots %" PRIu64
          ", lost %" PRIu64 ", merges begun %" PRIu64 ", ended %" PRIu64
          ", in lives %" PRIu64 ", origins checked %" PRIu64 "\n",
          c->tables.seeds, c->tables.lives, c->tables.snapshots, c->tables.lost,
          c->tables.merges, c->tables.merged, c->tables.merges_gone_on,
          c->tables.disks_checked);
  printf ("diffs %" PRIu64 ": units the same %" PRIu64 ", different %" PRIu64
          "\n",
          c->model.diffs, c->model.units_same, c->model.units_different);
}

static void
print_stories (const struct counters *c)
{
  struct enum_counters sum = { 0, 0 };
  unsigned i;

  for (i = 0; i < enum_count (); ++i) {
    const struct enum_counters *s = &c->stories[i];

    if (s->states == 0)
      continue;
    printf ("%-34s %6" PRIu64 " events, %8" PRIu64 " states\n", enum_name (i),
            s->events, s->states);
    sum.events += s->events;
    sum.states += s->states;
  }
  printf ("%-34s %6" PRIu64 " events, %8" PRIu64 " states\n", "all", sum.events,
          sum.states);
}

static double
now_seconds (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/* Job number JOB has ended with STATUS before its time: the others, too. */
static void
end_jobs (pid_t *pids, unsigned job, int status,
          const struct counters *counters)
{
  const struct counters *c = &counters[job];
  unsigned i;

  if (WIFSIGNALED (status)) { /* else it has said so itself */
    fprintf (stderr, "FAILED: seed %" PRIu64 ", point 0: %s\n", c->seed,
             strsignal (WTERMSIG (status)));
    fprintf (stderr, "replay: dmsim --seeds %" PRIu64 "%s%s%s --trace\n",
             c->seed, options.story != NULL ? " --enumerate=" : "",
             options.story != NULL ? enum_name ((unsigned) c->story) : "",
             replay);
  }
  for (i = 0; i < options.jobs; ++i)
    if (pids[i] > 0)
      (void) kill (pids[i], SIGKILL);
  fprintf (stderr, "after %" PRIu64 " seeds\n", c->seed - options.from + 1);
}

static int
run_jobs (struct counters *counters)
{
  pid_t pids[OPTIONS_MAX_JOBS];
  int status, result = 0;
  unsigned i;
  pid_t pid;

  fflush (stdout);
  for (i = 0; i < options.jobs; ++i) {
    pids[i] = fork ();
    if (pids[i] == -1) {
      perror ("dmsim: fork");
      exit (1);
    }
    if (pids[i] == 0) {
      if (options.story != NULL)
        run_stories (i, &counters[i]);
      else
        run_seeds (i, &counters[i]);
      exit (0); /* and not _exit: gcov writes then */
    }
  }
  while ((pid = wait (&status)) > 0) {
    for (i = 0; pids[i] != pid; ++i)
      ;
    pids[i] = 0;
    if (result == 0 && status != 0) {
      end_jobs (pids, i, status, counters);
      result = 1;
    }
  }
  return result;
}

int
main (int argc, char **argv)
{
  static struct counters sum;
  struct counters *shared;
  double began = now_seconds ();
  unsigned i;
  int r;

  options_parse (argc, argv, &options);
  if (options.steps != OPTIONS_DEFAULT_STEPS) {
    snprintf (replay, sizeof replay, " --steps %u", options.steps);
    sim_set_replay (replay);
  }
  if (setenv ("TMPDIR", SIM_ROOT, 1) == -1) {
    perror ("dmsim: TMPDIR");
    return 1;
  }
  sim_json_begin ();
#ifdef M_MMAP_THRESHOLD
  /* Memory of some megabytes comes and goes with each life. */
  (void) mallopt (M_MMAP_THRESHOLD, 64 << 20);
  (void) mallopt (M_TRIM_THRESHOLD, 256 << 20);
#endif
  if (enum_count () > MAX_STORIES)
    abort ();
  shared = mmap (NULL, options.jobs * sizeof *shared, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    perror ("dmsim: mmap");
    return 1;
  }
  r = run_jobs (shared);
  if (r != 0)
    return r;
  for (i = 0; i < options.jobs; ++i)
    add_up (&sum, &shared[i]);
  if (options.story != NULL)
    print_stories (&sum);
  else if (!options.is_traced && !options.has_hashes)
    print_counters (&sum, now_seconds () - began);
  return 0;
}
