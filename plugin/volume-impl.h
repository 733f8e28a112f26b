/* What the files of the volume share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_VOLUME_IMPL_H
#define DM_VOLUME_IMPL_H

#include <stdatomic.h>

#include "events.h"
#include "kcopyd.h"
#include "leg-file.h"
#include "log-sink.h"
#include "manifest.h"
#include "meta-dir.h"
#include "pace.h"
#include "sync.h"
#include "volume-admin-snapshots.h"
#include "volume-jobs.h"
#include "volume-status.h"
#include "volume.h"

/* What is known of the volume's state: what has been told to those who look
 * on.  Its lock is a leaf, but for that of the events and those of the
 * mirror that its status takes.
 */
/* A job that has not ended: volume-jobs.c. */
struct look_job {
  uint64_t id;
  enum job_kind kind;
  char name[SNAPSHOT_NAME_MAX + 1];
  uint64_t done_chunks; /* JOB_REMOVE: handed down up to there */
  uint64_t done_bytes;  /* JOB_RESTORE */
  uint64_t total_bytes; /* the same; JOB_ROLLBACK: the most that was left */
  bool is_cancelled;    /* JOB_RESTORE */
};

/* Resync, scrub and restore, and one for each snapshot. */
#define VOLUME_MAX_JOBS (MANIFEST_MAX_SNAPSHOTS + 3)

struct volume_look {
  struct mutex lock;
  enum volume_state state;
  unsigned leg_count;
  struct {
    enum leg_state state;
    char reason[EVENT_REASON_BYTES];
    enum leg_file_place place; /* of one that is in use */
  } legs[MIRROR_MAX_LEGS];

  /* The resync that is running, or has been. */
  bool is_resyncing;
  uint64_t resync_total_bytes, resync_done_bytes;
  uint64_t rate_since_ns, rate_since_bytes; /* of the rate that is measured */
  uint64_t rate;

  uint64_t last_job; /* the number of the last one that has begun */
  unsigned job_count;
  struct look_job jobs[VOLUME_MAX_JOBS]; /* the oldest first */
};

/* Works off, in the background, what was asked for: volume-chain.c. */
struct chain_worker {
  struct mutex lock; /* all below; a leaf */
  struct cond changed;
  struct thread thread;
  bool is_running;
  bool must_stop;
  bool has_work;
  bool is_idle;        /* nothing is left to do */
  struct pace_job job; /* the thread's */
};

/* How legs are opened. */
struct volume_leg_options {
  enum direct_mode direct;
  unsigned timeout_ms; /* of NBD servers, and of what is watched */
  bool is_watched;     /* files and disks */
};

/* A leg that is about to come in, for the manifest. */
struct volume_new_leg {
  const char *spec; /* absolute */
  const char *identity;
  struct block_device *bdev;
};

/* Connects NBD legs again that have failed: volume-rejoin.c. */
struct rejoin_leg {
  bool is_out;  /* it has failed, and will be tried ... */
  bool is_held; /* ... never: an administrator has failed it */
  uint64_t due_ns;
  uint64_t delay_ns; /* the last one; 0: none yet */
};

struct rejoiner {
  struct mutex lock; /* of all below but the thread; a leaf */
  struct cond changed;
  bool must_stop;
  struct rejoin_leg legs[MIRROR_MAX_LEGS];
  struct thread thread;
  bool is_running; /* under start_lock or admin_lock */
};

/* What leg's file or disk is open: volume-leg-files.c. */
struct volume_leg_file {
  bool is_known; /* and its name leads to it */
  struct bdev_identity id;
  char identity[LEG_IDENTITY_BYTES]; /* empty: a server, or it is missing */
};

/* Looks if it still has its name. */
struct leg_watcher {
  struct mutex lock; /* of all below but the thread; a leaf */
  struct cond wake;
  bool must_stop;
  bool is_asked;
  struct thread thread;
  bool is_running;
};

struct volume {
  struct meta_dir *dir; /* NULL: nothing is remembered */
  bool is_read_only;
  const char *read_only_reason;

  /* Of all that goes on in the background, with or without the mirror. */
  struct pace *pace;
  struct pace_job restore_job; /* admin_lock's holder's */

  /* Which leg is read where they may differ was decided at this opening, and
   * is not recorded before the start: another opening may decide otherwise.
   */
  bool is_doubtful;
  struct mirror *mirror;
  /* Where legs are, by their numbers in the mirror: absolute, since the server
   * changes its folder.  Changed under admin_lock.
   */
  char *leg_paths[MIRROR_MAX_LEGS];
  struct volume_leg_file leg_files[MIRROR_MAX_LEGS]; /* in the same way */
  struct origin *origin;
  struct kcopyd_client *kcopyd; /* of the snapshots, once started */

  /* What new snapshots are like unless asked for otherwise. */
  uint64_t chunk_bytes;
  uint64_t cow_bytes; /* 0: enough for every chunk */
  enum on_cow_error on_cow_error;

  /* The snapshots: what is known of them (the manifest, if there is one), and,
   * at the same index, what they are; NULL: dead, and not needed.  The
   * array changes under admin_lock and manifest_lock, once started.
   */
  struct manifest *records;
  struct snapshot *snapshots[MANIFEST_MAX_SNAPSHOTS];
  /* Held by who changes it, too, and by who looks at all of it: snapshots do
   * not come and go then.  Outside the snapshots' own.
   */
  struct mutex chain_lock;
  unsigned chain_length; /* of the array */
  struct chain_worker worker;

  /* The one that the volume is being rolled back to, or NULL; it is in the
   * merge, not in the chain.  Changed under admin_lock and manifest_lock.
   */
  struct snapshot *merging;
  struct merge *merge; /* the last one, perhaps at its end */
  bool must_save;      /* nobody may write before that: manifest_lock */

  /* The devices, the volume first, then the snapshots, newest first.  A leaf.
   * Changed under admin_lock, too.
   */
  struct mutex device_lock;
  struct list devices;

  /* Serialises what administrators do (volume-admin.h).  Outside all other
   * locks.
   */
  struct mutex admin_lock;

  /* Serialises starting.  Outside manifest_lock. */
  struct mutex start_lock;
  atomic_bool is_started;

  /* Protects the manifest, in memory and on disk.  A leaf: taken by what
   * the mirror and the snapshots call back, under their locks.
   */
  struct mutex manifest_lock;
  struct manifest *manifest; /* NULL without a folder */
  bool is_recorded;          /* it may name the legs of this start */

  struct events *events;
  struct volume_look look;

  /* The log, which the mirror destroys: what must happen to it before the
   * manifest is saved for the first time.
   */
  struct dirty_log *log; /* NULL: it is in order */
  bool log_has_file;     /* else one must be made */

  /* The legs of the mirror that the manifest has, a bit each: a leg of
   * the manifest is one of the mirror, in the same order, but legs of the
   * mirror keep their numbers when others go.  Under manifest_lock.
   */
  unsigned leg_numbers;

  /* Under admin_lock. */
  struct volume_leg_options leg_options;
  sector_t leg_offsets[MIRROR_MAX_LEGS]; /* where each begins on its device */
  const struct volume_new_leg *new_leg;  /* NULL: none is about to come in */

  struct rejoiner rejoiner;
  struct leg_watcher watcher;
};

/* Save the manifest, durably.  The caller holds manifest_lock, or is alone.
 */
int volume_save_manifest (struct volume *v);

/* The mirror has been made, or its legs are others: look anew. */
void volume_look_begin (struct volume *v);

/* A leg's state has changed, durably where there is a memory. */
void volume_note_leg (struct volume *v, unsigned leg, enum leg_state state,
                      const char *reason);

/* Where the name of a leg in use leads to now. */
void volume_note_leg_file (struct volume *v, unsigned leg,
                           enum leg_file_place place);

/* Leg LEG has another device, or another path.  The caller holds admin_lock, or
 * is alone.
 */
void volume_set_leg_file (struct volume *v, unsigned leg);

/* Have the watcher look soon, if there is one. */
void volume_ask_for_leg_files (struct volume *v);

/* For the mirror: mirror_note_fn. */
void volume_note (void *opaque, enum mirror_note note);

/* A job begins, if it has not begun, and ends, if there is one.  NAME is that
 * of its snapshot, or "".  They return its number, or 0 if there is none.  The
 * caller holds the look's lock.
 */
uint64_t volume_job_begin_locked (struct volume *v, enum job_kind kind,
                                  const char *name);
uint64_t volume_job_id_locked (struct volume *v, enum job_kind kind,
                               const char *name);
uint64_t volume_job_end_locked (struct volume *v, enum job_kind kind,
                                const char *name);

/* Snapshot NAME, which is being removed, is handed down up to CHUNK. */
void volume_job_note_handed (struct volume *v, const char *name,
                             uint64_t chunk);

/* The merge that is about to go on: so much is to be moved in all. */
void volume_job_measure_merge (struct volume *v);

/* The snapshots have been opened: what an earlier server has begun goes on.
 */
void volume_jobs_begin (struct volume *v);

/* What the snapshot NAME holds is about to be copied; so much of it has been;
 * and it has come to its end.  Whether somebody has cancelled it.
 */
void volume_job_begin_restore (struct volume *v, const char *name,
                               uint64_t total_bytes);
void volume_job_note_restored (struct volume *v, const char *name,
                               uint64_t bytes);
void volume_job_end_restore (struct volume *v, const char *name);
bool volume_job_is_cancelled (struct volume *v, enum job_kind kind,
                              const char *name);

/* An administrator has paused or resumed the resync. */
void volume_note_resync (struct volume *v, enum event_type type);

/* Something has happened to the snapshot NAME.  REASON may be NULL. */
void volume_note_snapshot (struct volume *v, enum event_type type,
                           const char *name, const char *reason);
void volume_note_rename (struct volume *v, const char *name,
                         const char *new_name);

/* Which leg of the manifest leg LEG of the mirror is, and the reverse.  The
 * caller holds manifest_lock, or is alone.
 */
unsigned volume_manifest_leg (const struct volume *v, unsigned leg);
unsigned volume_mirror_leg (const struct volume *v, unsigned index);

/* For the mirror's leg_changed: record that new_leg is leg LEG now, and
 * recovering; or that there is no such leg any more.  If that fails the
 * manifest is as it was.  The caller holds manifest_lock.
 */
int volume_record_new_leg (struct volume *v, unsigned leg);
int volume_record_no_leg (struct volume *v, unsigned leg);

/* Leg LEG has failed: if it is behind a server, have it connected again, and if
 * it is watched, wait until it does not hang any more.
 */
void volume_rejoin_later (struct volume *v, unsigned leg);

/* The last leg in sync is gone: if it is behind a server, the same, though it
 * stays in use.
 */
void volume_revive_later (struct volume *v);

/* An administrator has the last word on leg LEG: if IS_HELD it stays out
 * from now on until he says otherwise.  Called before the leg can fail anew.
 * Returns what was so before.
 */
bool volume_hold_out (struct volume *v, unsigned leg, bool is_held);

/* Start the thread for that, if there is such a leg and it does not run yet;
 * stop it, which takes as long as connecting to a server does.
 */
int volume_start_rejoin (struct volume *v);
void volume_stop_rejoin (struct volume *v);

/* The first leg of the manifest that is in sync: which the mirror reads when
 * its primary is so no more.
 */
unsigned volume_first_in_sync (const struct manifest *m);

struct volume_leg_options volume_leg_options (const struct volume_spec *spec);

/* Open the file, disk or URI PATH as a leg. */
int volume_open_device (const struct volume_leg_options *options,
                        const char *path, unsigned flags,
                        struct block_device **bdev);

/* Why that has failed, and what to do about it: volume-leg-errors.c. */
enum leg_role {
  LEG_GIVEN,     /* at a start */
  LEG_CREATED,   /* the same, because size= was given */
  LEG_COMING,    /* an administrator adds it */
  LEG_RETURNING, /* it rejoins */
};
void volume_leg_error_text (const char *path, enum leg_role role, int error,
                            char text[LOG_MESSAGE_BYTES]);

/* One leg on its way from the command line to the mirror. */
struct volume_leg {
  const char *path;            /* as the user gave it */
  char shown[LOG_QUOTE_BYTES]; /* the same, in messages */
  char *absolute;
  struct block_device *bdev; /* NULL: must be created, or is missing */
  bool is_wanted;            /* it is absent, and to be created */
  int missing_error;         /* negative: why it cannot be had */
  bool is_created;
  bool is_read_only;
  char identity[LEG_IDENTITY_BYTES];
  char stamp[LEG_STAMP_BYTES];      /* of one that is missing: as known */
  const struct manifest_leg *known; /* what the manifest says of it */
  enum leg_state state;
};

struct volume_legs {
  unsigned count;
  struct volume_leg legs[MIRROR_MAX_LEGS];
  unsigned primary;
  uint64_t size_bytes; /* of the volume */
  bool is_in_sync;     /* all regions, on all legs in use */
  bool log_holds;      /* what is clean in the log is the same on all legs */
};

/* Open the legs, check them against each other, SPEC and MANIFEST (NULL if
 * there is none), create those that are absent and may be, and decide
 * which can be trusted.  One that is missing gets a device that fails all
 * calls.  On failure nothing is open and what was created is gone.
 */
int volume_open_legs (const struct volume_spec *spec,
                      const struct manifest *manifest,
                      struct volume_legs *legs);

/* True if LEG is the file or disk that KNOWN was, or a server of its size. */
bool volume_leg_is_same (const struct manifest_leg *known,
                         const struct volume_leg *leg);

/* Decide which legs are in sync, which recover, and which are missing; and
 * set all of LEGS that depends on it.  M: NULL if there is no manifest.
 * Returns 0 or -EINVAL, and has said why.
 */
int volume_decide_trust (const struct volume_spec *spec,
                         const struct manifest *m, struct volume_legs *legs);

/*----- the dirty log ---------------------------------------------------*/

/* Make the log of a volume with LEGS and regions of REGION_BYTES: the one
 * that the manifest tells of, if it holds for these legs, or one that is
 * all clean or all dirty.  Nothing is written.  *LOG is the caller's until a
 * mirror has it.  Returns 0 or a negative errno, and has said why.
 */
int volume_open_log (struct volume *v, const struct volume_spec *spec,
                     const struct volume_legs *legs, uint64_t region_bytes,
                     struct dirty_log **log);

/* Make the log durable as it is in memory, before the manifest says of legs
 * that it holds for them.  If it cannot be written the manifest, in memory,
 * says so.
 */
void volume_settle_log (struct volume *v);

/* For struct mirror_params. */
int volume_log_failed (void *opaque, int error);

/*----- legs ------------------------------------------------------------*/

/* A device called NAME that is not there: all calls fail. */
int volume_make_no_device (const char *name, sector_t sectors,
                           struct block_device **bdev);

/* Close what is open, and remove what was created. */
void volume_abandon_legs (struct volume_legs *legs);

/* The mirror has the devices now, and closes them. */
void volume_disown_legs (struct volume_legs *legs);

/* All is well: forget about them. */
void volume_release_legs (struct volume_legs *legs);

/*----- snapshots: volume-snapshots.c ------------------------------------*/

/* Open all snapshots of the manifest but those that SPEC discards, then
 * discard those, and take the new ones that SPEC asks for.  The mirror is
 * there.
 */
int volume_open_snapshots (struct volume *v, const struct volume_spec *spec);

/* Close all that are open. */
void volume_close_snapshots (struct volume *v);

/* Get them ready for writes. */
int volume_start_snapshots (struct volume *v);

/* Begin and end copying to them; it goes on already: nothing.  Nobody writes
 * when it ends.
 */
int volume_start_copying (struct volume *v);
void volume_stop_copying (struct volume *v);

/* Open the snapshot of RECORD, which may be being created, but whose store is
 * made; its next newer device is ORIGIN.  A valid RECORD becomes invalid if the
 * store says so.
 */
int volume_open_snapshot (struct volume *v, struct manifest_snapshot *record,
                          struct target *origin, struct snapshot **snapshot);

/* Save the records, if they are a manifest.  The caller holds manifest_lock,
 * or is alone.
 */
int volume_save_records (struct volume *v);

/* WHY the record of snapshot NAME cannot be changed.  Returns R. */
int volume_why_not_saved (const struct volume *v, const char *name, int r,
                          struct volume_why *why);

/* Without a folder snapshots end with the server. */
bool volume_is_transient (const struct volume *v);

/*----- making snapshots: volume-snapshot-make.c -------------------------*/

/* Whether a snapshot can be made as it is asked for.  Changes nothing. */
int volume_check_new_snapshot (struct volume *v,
                               const struct volume_snapshot_request *request,
                               struct volume_why *why);

/* The first steps to a new snapshot, durably: its record, which says that
 * it is being created, and its store.  *INDEX is the record's.  On failure
 * as much as possible is undone.
 */
int volume_make_snapshot (struct volume *v,
                          const struct volume_snapshot_request *request,
                          unsigned *index, struct volume_why *why);

/* The last one: it is valid, or staging.  After an error it may be so at the
 * next start, and is being created till then.
 */
int volume_publish_snapshot (struct volume *v, unsigned index,
                             enum manifest_snapshot_state state,
                             struct volume_why *why);

/* Whether the store of a snapshot NAME can have its name. */
int volume_check_store_name (struct volume *v, const char *name,
                             struct volume_why *why);

/* After a snapshot was renamed: rename its store.  After an error the store is
 * found all the same, but must not be renamed again before this succeeds.
 */
int volume_settle_store_name (struct volume *v, unsigned index);

/* In memory, find the stores that a crash in that has left renamed. */
void volume_find_stores (struct volume *v);

/* Remove what is half made or half removed, durably. */
int volume_remove_unfinished (struct volume *v, struct volume_why *why);

/* The index of the record NAME, or of the oldest in STATE, or -1; the state
 * of one.
 */
int volume_find_record (struct volume *v, const char *name);
int volume_find_state (struct volume *v, enum manifest_snapshot_state state);
enum manifest_snapshot_state volume_record_state (struct volume *v,
                                                  unsigned index);

/* SNAPSHOT is what there is of record INDEX. */
void volume_set_snapshot (struct volume *v, unsigned index,
                          struct snapshot *snapshot);

/* Change a state, durably; REASON may be NULL.  After an error it is as it
 * was, in memory.
 */
int volume_set_record_state (struct volume *v, unsigned index,
                             enum manifest_snapshot_state state,
                             const char *reason);

/*----- for administrators: volume-admin-snapshots.c ---------------------*/

/* Make the volume ready for changes of the snapshot NAME. */
int volume_start_for_admin (struct volume *v, const char *name,
                            struct volume_why *why);

/* Take a snapshot that is staging: it is on top of the chain, and offered to
 * nobody.  And give it up again, for what it holds to be handed down; that
 * writes nothing.  The caller has admin_lock.
 */
int volume_stage (struct volume *v,
                  const struct volume_snapshot_request *request,
                  unsigned *index, struct volume_why *why);
void volume_unstage (struct volume *v, unsigned index);

/* See that the device D (or NULL) of a snapshot cannot be opened any more;
 * -EBUSY: clients are in the way, and FLAGS have no VOLUME_SNAPSHOT_FORCE.
 */
int volume_hide_device (struct volume *v, const char *name,
                        struct volume_device *d, unsigned flags,
                        struct volume_why *why);

/*----- the chain while it is in use: volume-chain.c ---------------------*/

/* The newest snapshot that is in the chain, or NULL. */
struct snapshot *volume_chain_newest (struct volume *v);

/* Put SNAPSHOT on top of it, which has been opened above what the newest is
 * above, has that below it, and is published.  ORIGIN, for the one that was
 * the newest, if there is one, is the view of SNAPSHOT.  Cannot fail.
 */
void volume_chain_push (struct volume *v, struct snapshot *snapshot,
                        struct snapshot_origin *origin);

/* There is work for the worker, which is started if need be; or perhaps, from
 * before this start.  After volume_chain_stop there is no worker any more.
 */
int volume_chain_kick (struct volume *v);
int volume_resume_snapshots (struct volume *v);

/* While clients are busy, work on snapshots rests no longer than this after a
 * piece: pace.h.
 */
#define VOLUME_REST_MAX_NS (NS_PER_SECOND / 4)

/* The volume stops, and so must what takes long. */
bool volume_must_stop (struct volume *v);
void volume_chain_stop (struct volume *v);

/*----- rolling back: volume-rollback.c ----------------------------------*/

/* The device below all snapshots: the mirror, or what is becoming it. */
struct target *volume_base (struct volume *v);

/* At the start, if there is one to go on with; and at the end. */
int volume_open_merge (struct volume *v);
void volume_close_merge (struct volume *v);

/* For the worker: some chunks, *BYTES of them, or the end.  Returns 1, or an
 * error.
 */
int volume_merge_step (struct volume *v, uint64_t *bytes,
                       struct volume_why *why);

/* Roll back to the staged snapshot of record INDEX.  After an error it is as
 * it was.
 */
int volume_roll_back_to_staged (struct volume *v, unsigned index,
                                struct volume_why *why);

/* Roll back to the valid snapshot of record INDEX, which is not the newest:
 * volume-restore.c.  The caller has admin_lock, and has started the volume.
 */
int volume_restore (struct volume *v, unsigned index, struct volume_why *why);

/* The oldest record, newer than number INDEX, that is going away, or -1. */
int volume_find_going (struct volume *v, unsigned index);

/* Save the records, which could not be: then the volume can be written. */
int volume_save_at_last (struct volume *v, struct volume_why *why);

/* They have been saved, by this or by anybody.  The caller holds
 * manifest_lock.
 */
void volume_writes_go_on (struct volume *v);

/*----- devices: volume-devices.c ----------------------------------------*/

/* The volume's own: the first. */
struct volume_device *volume_first_device (struct volume *v);

/* A device for the volume, or for the snapshot of record INDEX. */
int volume_device_create (struct volume *v, int index,
                          struct volume_device **device);
void volume_device_destroy (struct volume_device *d);

/* To the log: there is none of that name.  Returns -ENOENT. */
int volume_device_say_none (const char *name);

/* Let it be found: the volume is first, every other one behind that. */
void volume_device_add (struct volume *v, struct volume_device *d);

/* That of a snapshot, or NULL. */
struct volume_device *volume_device_of (struct volume *v,
                                        const struct snapshot *snapshot);

/* How many clients have it. */
unsigned volume_device_clients (struct volume_device *d);

/* See that nobody finds it any more; -EBUSY: it has clients, and that was to
 * be refused.  Then either let it be found again, or take it away: it is
 * freed when the last client has gone.
 */
int volume_device_hide (struct volume *v, struct volume_device *d,
                        bool refuse_clients);
void volume_device_show (struct volume *v, struct volume_device *d);
void volume_device_remove (struct volume *v, struct volume_device *d);

/* Devices for all that is there at the start; and their end. */
int volume_make_devices (struct volume *v);
void volume_free_devices (struct volume *v);

/*----- diffs: volume-diff.c ---------------------------------------------*/

/* As volume_device_open and volume_device_close, for names of two parts. */
bool volume_diff_is_name (const char *name);
int volume_diff_open (struct volume *v, const char *name, bool may_write,
                      struct volume_device **device);
void volume_diff_close (struct volume_device *device);

/* Call FN with the diff of two names, "" for the volume. */
int volume_diff_each (const char *older, const char *newer, volume_export_fn fn,
                      void *opaque);

#endif /* DM_VOLUME_IMPL_H */
