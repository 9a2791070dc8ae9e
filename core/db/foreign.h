/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SQLite database of somebody else (mlflow.db), read while its owner writes it: the file is not
 * written, not migrated, and nothing appears beside it. SQLite itself does not offer that in one way:
 *
 *	opened as usual, read-only	takes a lock; of a database in WAL mode makes -wal and -shm;
 *					cannot read one whose writer was killed (-journal is hot)
 *	immutable=1			neither; but lies while somebody writes, and does not see -wal
 *
 * So what is read is chosen by what lies there:
 *
 *	nothing beside it	  immutable, and afterwards a look whether anything was written
 *				  meanwhile (change counter in the header, times, size, a journal):
 *				  if so, what was read is thrown away and read again
 *	a -journal		  a writer is at work: waited for, a moment. One that stays was left by
 *				  a writer that died: database and journal are copied, SQLite rolls
 *				  the copy back
 *	a -wal with something in  both are copied, first the database, then the log: what a checkpoint
 *				  moves meanwhile is in both, unless the log began anew (its header
 *				  tells: copied again)
 *	written all the time	  SQLite's own shared lock, for the one question, without a log only: a
 *				  writer waits for it as for any other reader (MLflow: 20 s)
 *
 * A copy lies in a folder of the cache and is used again as long as nothing changes. The database is
 * hostile: its schema is not trusted, texts and blobs are limited, a statement ends with its call.
 */
#ifndef MK_FOREIGN_H
#define MK_FOREIGN_H

#include "db/db.h"

struct mk_foreign;

/* scratch: the folder for copies; what a process that died left there is removed. */
struct mk_foreign *mk_foreign_new(const char *path, const char *scratch);
void mk_foreign_free(struct mk_foreign *foreign);

/*
 * Runs fn with a connection that shows one state of the database. fn may be run several times and
 * must begin anew each time, keeping what it reads to itself: only when mk_foreign_read() gives 0 or
 * more is that true. Errors of fn are passed on; EHOSTUNREACH it is not there, EREMOTEIO it is
 * no database or damaged, EBUSY its owner keeps it locked.
 */
int mk_foreign_read(struct mk_call *call, struct mk_foreign *foreign, mk_db_fn *fn,
		    void *arg) _must_check_;

#endif
