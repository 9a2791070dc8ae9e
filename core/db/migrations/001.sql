-- SPDX-License-Identifier: Apache-2.0
-- Version 1, frozen: people have databases of it. A change is a file 00N.sql beside this one, its
-- row in table.c and its line in core/meson.build.
-- Times are nanoseconds since 1970 (realtime). Ids are never reused (AUTOINCREMENT).

CREATE TABLE projects (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	name		TEXT NOT NULL UNIQUE,
	site		TEXT,			-- default site, from project.yaml
	created		INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	touched		INTEGER NOT NULL DEFAULT 0,
	runs_generation	INTEGER NOT NULL DEFAULT 0 -- counts with every change that runs.tsv may show
) STRICT;

CREATE TABLE experiments (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL REFERENCES projects(id),
	name		TEXT NOT NULL,
	metric		TEXT,			-- primary_metric, from experiment.yaml
	maximize	INTEGER NOT NULL DEFAULT 0,
	best		INTEGER NOT NULL DEFAULT 0,
	created		INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	touched		INTEGER NOT NULL DEFAULT 0,
	runs_generation	INTEGER NOT NULL DEFAULT 0,
	UNIQUE (project_id, name)
) STRICT;

CREATE TABLE repositories (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL REFERENCES projects(id),
	name		TEXT NOT NULL,
	uri		TEXT,
	platform	TEXT,
	connection	TEXT,
	default_branch	TEXT,
	mirror		TEXT NOT NULL UNIQUE,	-- directory below <data>/git
	hidden		INTEGER NOT NULL DEFAULT 0, -- 1: the private mirror of `code: path` snapshots
	created		INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	touched		INTEGER NOT NULL DEFAULT 0,
	fetched		INTEGER NOT NULL DEFAULT 0,
	error		TEXT,
	UNIQUE (project_id, name)
) STRICT;

-- Editable texts, to the letter. kind: enum mk_text_kind.
CREATE TABLE texts (
	kind		INTEGER NOT NULL,
	owner		INTEGER NOT NULL,
	text		BLOB NOT NULL,
	generation	INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	who		TEXT NOT NULL,
	PRIMARY KEY (kind, owner)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	uid		TEXT NOT NULL UNIQUE,
	project_id	INTEGER NOT NULL REFERENCES projects(id),
	experiment_id	INTEGER NOT NULL REFERENCES experiments(id),
	name		TEXT NOT NULL,
	dir		TEXT NOT NULL,
	status		INTEGER NOT NULL,	-- enum mk_status
	reason		TEXT,
	raw_status	TEXT,
	site		TEXT NOT NULL,
	job_id		TEXT,
	queue		TEXT,
	account		TEXT,
	nodes		TEXT,
	exit_code	INTEGER,
	signal		INTEGER,
	submitted	INTEGER NOT NULL,
	started		INTEGER,
	ended		INTEGER,
	changed		INTEGER NOT NULL,
	as_of		INTEGER,
	user		TEXT NOT NULL,
	repository_id	INTEGER REFERENCES repositories(id),
	repository	TEXT,
	branch		TEXT,
	commit_id	TEXT,
	dirty		INTEGER NOT NULL DEFAULT 0,
	mlproject	TEXT,
	entry_point	TEXT,
	environment	TEXT,
	infrastructure	TEXT,
	rerun_of	TEXT,
	workdir		TEXT,
	cancel_asked	INTEGER NOT NULL DEFAULT 0, -- time
	deleted		INTEGER NOT NULL DEFAULT 0, -- time
	generation	INTEGER NOT NULL DEFAULT 1,
	spec_len	INTEGER NOT NULL,
	script_len	INTEGER NOT NULL DEFAULT 0,
	UNIQUE (project_id, dir)
) STRICT;
CREATE INDEX runs_project ON runs (project_id, deleted, id, dir, changed, status);
CREATE INDEX runs_experiment ON runs (experiment_id, deleted, id, dir, changed, status);
CREATE INDEX runs_live ON runs (status, id) WHERE status < 2;
CREATE INDEX runs_job ON runs (job_id) WHERE job_id IS NOT NULL;

-- What is long and fixed at submission, away from the row that is scanned.
CREATE TABLE run_texts (
	run_id		INTEGER PRIMARY KEY REFERENCES runs(id),
	spec		TEXT NOT NULL,
	script		TEXT NOT NULL DEFAULT '',
	plan		TEXT NOT NULL		-- JSON: everything the site needs (core/format/plan.h)
) STRICT;

-- after: this run starts when the other has FINISHED.
CREATE TABLE run_after (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	other_id	INTEGER NOT NULL REFERENCES runs(id),
	PRIMARY KEY (run_id, other_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE params (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE tags (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

-- A metric's summary; `bytes` is the length of its rendered history.
CREATE TABLE metrics (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	key		TEXT NOT NULL,
	count		INTEGER NOT NULL,
	bytes		INTEGER NOT NULL,
	last_step	INTEGER NOT NULL,
	last_value	REAL,			-- NULL: NaN; see last_text
	last_time	INTEGER NOT NULL,
	min		REAL,
	min_step	INTEGER,
	max		REAL,
	max_step	INTEGER,
	UNIQUE (run_id, key)
) STRICT;

-- History in the order logged. value NULL = NaN (SQLite keeps no NaN).
CREATE TABLE points (
	metric_id	INTEGER NOT NULL,
	seq		INTEGER NOT NULL,
	step		INTEGER NOT NULL,
	value		REAL,
	time		INTEGER NOT NULL,
	PRIMARY KEY (metric_id, seq)
) STRICT, WITHOUT ROWID;

-- How far files under MANTIK_RUN_DIR were read (path relative to it).
CREATE TABLE harvest (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	path		TEXT NOT NULL,
	offset		INTEGER NOT NULL,
	PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;

-- The journal: what was acknowledged and is still to be done. step: core/engine/journal.h.
CREATE TABLE intents (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	verb		TEXT NOT NULL,		-- submit | cancel | clean
	step		INTEGER NOT NULL,
	held		INTEGER NOT NULL DEFAULT 0,
	created		INTEGER NOT NULL,
	try_at		INTEGER NOT NULL DEFAULT 0,
	tries		INTEGER NOT NULL DEFAULT 0,
	reason		TEXT,
	UNIQUE (run_id, verb)
) STRICT;

-- Texts submitted twice by one process within 10 s are one submission (VS Code's retries).
CREATE TABLE submissions (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL,
	digest		TEXT NOT NULL,		-- sha256 of the text
	asker		TEXT NOT NULL,		-- boot id, thread group and its start time
	time		INTEGER NOT NULL,
	answer		TEXT NOT NULL
) STRICT;
CREATE INDEX submissions_time ON submissions (time);

CREATE TABLE changes (
	seq		INTEGER PRIMARY KEY AUTOINCREMENT,
	kind		TEXT NOT NULL,
	key		INTEGER NOT NULL
) STRICT;

-- Small settings of the platform itself: queue_paused, platform uid, …
CREATE TABLE settings (
	key		TEXT PRIMARY KEY,
	value		TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Errors for .mantik/errors and mantikctl why: the last 1000.
CREATE TABLE errors (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	time		INTEGER NOT NULL,
	path		TEXT NOT NULL,
	code		INTEGER NOT NULL,
	text		TEXT NOT NULL,
	remote		TEXT,
	detail		TEXT
) STRICT;
CREATE INDEX errors_path ON errors (path, id);
