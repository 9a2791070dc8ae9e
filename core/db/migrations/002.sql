-- SPDX-License-Identifier: Apache-2.0
-- Version 2: what is mirrored from foreign tracking stores (core/domain/index/index.h).

ALTER TABLE projects ADD COLUMN connection TEXT;	-- of the tracking store; NULL: ours
ALTER TABLE experiments ADD COLUMN remote_id TEXT;	-- the store's id of it
ALTER TABLE experiments ADD COLUMN remote_updated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN remote_digest INTEGER NOT NULL DEFAULT 0; -- of its tags
ALTER TABLE experiments ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;	-- time
CREATE UNIQUE INDEX experiments_remote ON experiments (project_id, remote_id)
	WHERE remote_id IS NOT NULL;

ALTER TABLE runs ADD COLUMN remote_id TEXT;		-- the store's id; uid is the same unless taken
ALTER TABLE runs ADD COLUMN remote_digest INTEGER NOT NULL DEFAULT 0; -- of all the store said of it
ALTER TABLE runs ADD COLUMN artifact_uri TEXT;
ALTER TABLE runs ADD COLUMN parent TEXT;		-- the store's id of the parent run
CREATE UNIQUE INDEX runs_remote ON runs (project_id, remote_id) WHERE remote_id IS NOT NULL;
CREATE INDEX runs_parent ON runs (project_id, parent) WHERE parent IS NOT NULL;

-- 1: every point up to count is in `points`; 0: only the last one is known.
ALTER TABLE metrics ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;
-- SQLite keeps one zero: where a value is -0.0 these say so. metrics: 1 last, 2 min, 4 max.
ALTER TABLE points ADD COLUMN minus INTEGER;
ALTER TABLE metrics ADD COLUMN minus INTEGER NOT NULL DEFAULT 0;

-- When something of a store was last asked, and how far: what is 'experiments', 'runs:<id>',
-- 'run:<id>', 'history:<run>/<key>', 'models', 'versions:<model>', 'files:<place>/<directory>'.
CREATE TABLE marks (
	project_id	INTEGER NOT NULL,
	what		TEXT NOT NULL,
	time		INTEGER NOT NULL,	-- of the question that was answered
	value		TEXT,			-- where to go on
	PRIMARY KEY (project_id, what)
) STRICT, WITHOUT ROWID;

CREATE TABLE experiment_tags (
	experiment_id	INTEGER NOT NULL REFERENCES experiments(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (experiment_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_datasets (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	seq		INTEGER NOT NULL,
	name		TEXT NOT NULL,
	digest		TEXT NOT NULL,
	source_type	TEXT NOT NULL,
	source		TEXT NOT NULL,
	context		TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- What is in the directories of a store that were listed. place: core/domain/index/files.h.
CREATE TABLE files (
	project_id	INTEGER NOT NULL,
	place		TEXT NOT NULL,
	dir		TEXT NOT NULL,		-- '' the top
	name		TEXT NOT NULL,
	is_dir		INTEGER NOT NULL,
	size		INTEGER NOT NULL,	-- -1: the store did not tell
	PRIMARY KEY (project_id, place, dir, name)
) STRICT, WITHOUT ROWID;

-- Models a run logged (MLflow 3: m-…).
CREATE TABLE run_models (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	model_id	TEXT NOT NULL,
	name		TEXT NOT NULL,
	PRIMARY KEY (run_id, model_id)
) STRICT, WITHOUT ROWID;

-- What those are called, once the store was asked.
CREATE TABLE logged_models (
	project_id	INTEGER NOT NULL,
	model_id	TEXT NOT NULL,
	name		TEXT NOT NULL,
	PRIMARY KEY (project_id, model_id)
) STRICT, WITHOUT ROWID;

-- Registered models of a project and their versions.
CREATE TABLE models (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL REFERENCES projects(id),
	name		TEXT NOT NULL,
	description	TEXT NOT NULL DEFAULT '',
	created		INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	gone		INTEGER NOT NULL DEFAULT 0,
	UNIQUE (project_id, name)
) STRICT;
CREATE TABLE model_versions (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	model_id	INTEGER NOT NULL REFERENCES models(id),
	version		TEXT NOT NULL,
	run_id		TEXT,			-- the store's id
	stage		TEXT NOT NULL DEFAULT '',
	status		TEXT NOT NULL DEFAULT '',
	description	TEXT NOT NULL DEFAULT '',
	source		TEXT NOT NULL DEFAULT '',
	aliases		TEXT NOT NULL DEFAULT '',	-- one a line
	tags		BLOB NOT NULL,			-- key NUL value NUL …
	created		INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	gone		INTEGER NOT NULL DEFAULT 0,
	UNIQUE (model_id, version)
) STRICT;

-- What is logged through MLflow's API, by the embedded tracking server (core/domain/track/track.h).
ALTER TABLE experiments ADD COLUMN artifact_location TEXT; -- where its maker wants them; NULL: here
ALTER TABLE runs ADD COLUMN api INTEGER NOT NULL DEFAULT 0; -- 1: made by an API: no spec, no job
CREATE INDEX runs_submitted ON runs (project_id, id) WHERE api = 0 AND deleted = 0;
-- The order of a history. A point that is greater than all before it by (step, time, value; NaN as
-- 0) is in order: late = 0. Any other has late = 1 + the seq of the greatest before it. So those in
-- order can be searched by halves, and those that are late stand in an index.
ALTER TABLE points ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
CREATE INDEX points_late ON points (metric_id, time, step) WHERE late > 0;
ALTER TABLE metrics ADD COLUMN head INTEGER;	-- seq of the greatest point; NULL: not known
ALTER TABLE metrics ADD COLUMN mixed INTEGER NOT NULL DEFAULT 0; -- 1: not in order by (time, step, value)
ALTER TABLE run_datasets ADD COLUMN schema TEXT NOT NULL DEFAULT '';
ALTER TABLE run_datasets ADD COLUMN profile TEXT NOT NULL DEFAULT '';
ALTER TABLE run_datasets ADD COLUMN tags BLOB;	-- key NUL value NUL …, `context` among them
ALTER TABLE run_models ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
CREATE TABLE run_model_inputs (		-- models of MLflow 3 a run read
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	model_id	TEXT NOT NULL,
	PRIMARY KEY (run_id, model_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE model_points (		-- metrics that were logged with a model_id
	model_id	TEXT NOT NULL,
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	key		TEXT NOT NULL,
	step		INTEGER NOT NULL,
	time		INTEGER NOT NULL,
	value		REAL,
	dataset_name	TEXT NOT NULL DEFAULT '',
	dataset_digest	TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX model_points_model ON model_points (model_id, key, step, time);
CREATE INDEX model_points_run ON model_points (run_id);
-- Models of ours (core/domain/track/): what the tracking API keeps of them
-- besides the rows above. Tags and aliases of a mirrored version stay in its row.
ALTER TABLE model_versions ADD COLUMN run_link TEXT NOT NULL DEFAULT '';
ALTER TABLE model_versions ADD COLUMN logged TEXT NOT NULL DEFAULT '';	-- the m-… it was made of
ALTER TABLE model_versions ADD COLUMN storage TEXT NOT NULL DEFAULT '';	-- URI of its files
CREATE INDEX model_versions_run ON model_versions (run_id) WHERE run_id IS NOT NULL;
CREATE TABLE model_tags (
	model_id	INTEGER NOT NULL REFERENCES models(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (model_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE version_tags (
	version_id	INTEGER NOT NULL REFERENCES model_versions(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (version_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE model_aliases (
	model_id	INTEGER NOT NULL REFERENCES models(id),
	alias		TEXT NOT NULL,
	version_id	INTEGER NOT NULL REFERENCES model_versions(id),
	PRIMARY KEY (model_id, alias)
) STRICT, WITHOUT ROWID;

-- Logged models of ours have an experiment; those of a store are names only.
ALTER TABLE logged_models ADD COLUMN experiment_id INTEGER;
ALTER TABLE logged_models ADD COLUMN serial INTEGER;	-- one number for each of ours
ALTER TABLE logged_models ADD COLUMN source_run TEXT NOT NULL DEFAULT '';	-- uid
ALTER TABLE logged_models ADD COLUMN model_type TEXT NOT NULL DEFAULT '';
ALTER TABLE logged_models ADD COLUMN status INTEGER NOT NULL DEFAULT 0;	-- enum mk_logged_status
ALTER TABLE logged_models ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logged_models ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logged_models ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;	-- time
CREATE UNIQUE INDEX logged_models_serial ON logged_models (serial) WHERE serial IS NOT NULL;
CREATE UNIQUE INDEX logged_models_ours ON logged_models (model_id) WHERE experiment_id IS NOT NULL;
CREATE INDEX logged_models_experiment ON logged_models (experiment_id, created)
	WHERE experiment_id IS NOT NULL;
CREATE INDEX logged_models_run ON logged_models (source_run) WHERE source_run != '';
CREATE TABLE logged_model_params (
	model_id	TEXT NOT NULL,
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (model_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE logged_model_tags (
	model_id	TEXT NOT NULL,
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (model_id, key)
) STRICT, WITHOUT ROWID;
-- Answers to orders (runs/new, a ctl), for who reads the file later: core/domain/answer.c.
CREATE TABLE answers (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	ino		INTEGER NOT NULL,	-- of the file
	uid		INTEGER NOT NULL,
	session		TEXT NOT NULL,		-- boot id and number; '' unknown
	time		INTEGER NOT NULL,
	text		TEXT NOT NULL,
	UNIQUE (ino, uid, session)
) STRICT;

-- What was written here to a tracking store and has not been taken by it yet (core/domain/outbox/),
-- in the order it was written; shown as if it were there already.
CREATE TABLE outbox (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL,
	verb		INTEGER NOT NULL,	-- enum mk_out_verb
	object		TEXT NOT NULL,		-- 'run:<id>', 'experiment:<id>': one's rows go in order
	key		TEXT NOT NULL DEFAULT '',
	value		TEXT,
	before		TEXT,			-- what it replaced here; NULL: nothing
	step		INTEGER,		-- of a point, and the next two
	number		REAL,			-- NULL: NaN
	time		INTEGER,
	created		INTEGER NOT NULL,
	wanted		INTEGER NOT NULL DEFAULT 0, -- somebody waits for the answer until then
	asked		INTEGER NOT NULL DEFAULT 0, -- sent then, and perhaps taken
	tries		INTEGER NOT NULL DEFAULT 0, -- without an answer
	try_at		INTEGER NOT NULL DEFAULT 0,
	code		INTEGER NOT NULL DEFAULT 0, -- refused, for who waits: errno and why
	text		TEXT,
	detail		TEXT
) STRICT;
CREATE INDEX outbox_project ON outbox (project_id, id);
CREATE INDEX outbox_object ON outbox (object, id);
CREATE INDEX outbox_refused ON outbox (id) WHERE code <> 0;
-- Stores that do not answer now, since when, and why.
CREATE TABLE outbox_away (
	project_id	INTEGER PRIMARY KEY,
	since		INTEGER NOT NULL,
	text		TEXT NOT NULL
) STRICT;
-- When a store last took something from here: what it said before is older than that.
ALTER TABLE runs ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
ALTER TABLE models ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
-- Points in the outbox, and the length of their lines; not among count and bytes.
ALTER TABLE metrics ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE metrics ADD COLUMN unsent_bytes INTEGER NOT NULL DEFAULT 0;

-- Files on their way to a store (core/domain/outbox/upload.h). sent: when it had it; 0 it waits.
CREATE TABLE uploads (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL,
	run_id		INTEGER NOT NULL,
	place		TEXT NOT NULL,
	dir		TEXT NOT NULL,		-- '' the top
	name		TEXT NOT NULL,
	file		TEXT NOT NULL,		-- its bytes, in <data>/uploads/ while it waits
	size		INTEGER NOT NULL,
	mtime		INTEGER NOT NULL,
	sent		INTEGER NOT NULL DEFAULT 0,
	UNIQUE (project_id, place, dir, name)
) STRICT;

ALTER TABLE model_points ADD COLUMN minus INTEGER; -- as of points

-- Deleted projects are in no listing; `mantikctl restore` brings them back, gc ends them.
ALTER TABLE projects ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;	-- time

-- A file that its store refused when nobody waited for it any more: the errno. It is kept, and tried
-- again a day later.
ALTER TABLE outbox ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;

-- When the store made it, ns; 0 it did not say. Another time under that id is another store's.
ALTER TABLE experiments ADD COLUMN remote_created INTEGER NOT NULL DEFAULT 0;
