-- SPDX-License-Identifier: Apache-2.0
-- A database as mantikfs 0.1.0 left it (schema 1): three runs of which one is deleted. Never to be
-- made again by a newer program. test_migrate reads it.
PRAGMA application_id=1835955307;
PRAGMA user_version=1;
BEGIN TRANSACTION;
CREATE TABLE changes (
	seq		INTEGER PRIMARY KEY AUTOINCREMENT,
	kind		TEXT NOT NULL,
	key		INTEGER NOT NULL
) STRICT;
INSERT INTO "changes" VALUES(1,'project',1);
INSERT INTO "changes" VALUES(2,'repository',1);
INSERT INTO "changes" VALUES(3,'project',1);
INSERT INTO "changes" VALUES(4,'experiment',1);
INSERT INTO "changes" VALUES(5,'project',1);
INSERT INTO "changes" VALUES(6,'repository',1);
INSERT INTO "changes" VALUES(7,'experiment',1);
INSERT INTO "changes" VALUES(8,'repository',1);
INSERT INTO "changes" VALUES(9,'run',1);
INSERT INTO "changes" VALUES(10,'experiment',1);
INSERT INTO "changes" VALUES(11,'run',2);
INSERT INTO "changes" VALUES(12,'project',1);
INSERT INTO "changes" VALUES(13,'run',1);
INSERT INTO "changes" VALUES(14,'run',2);
INSERT INTO "changes" VALUES(15,'experiment',2);
INSERT INTO "changes" VALUES(16,'project',1);
INSERT INTO "changes" VALUES(17,'run',3);
INSERT INTO "changes" VALUES(18,'experiment',2);
INSERT INTO "changes" VALUES(19,'project',1);
INSERT INTO "changes" VALUES(20,'run',2);
INSERT INTO "changes" VALUES(21,'run',1);
INSERT INTO "changes" VALUES(22,'run',2);
INSERT INTO "changes" VALUES(23,'run',1);
INSERT INTO "changes" VALUES(24,'run',2);
INSERT INTO "changes" VALUES(25,'run',1);
INSERT INTO "changes" VALUES(26,'run',2);
INSERT INTO "changes" VALUES(27,'run',2);
INSERT INTO "changes" VALUES(28,'run',1);
INSERT INTO "changes" VALUES(29,'run',1);
INSERT INTO "changes" VALUES(30,'run',2);
INSERT INTO "changes" VALUES(31,'run',2);
INSERT INTO "changes" VALUES(32,'run',2);
INSERT INTO "changes" VALUES(33,'run',2);
INSERT INTO "changes" VALUES(34,'run',3);
INSERT INTO "changes" VALUES(35,'run',2);
INSERT INTO "changes" VALUES(36,'run',3);
INSERT INTO "changes" VALUES(37,'run',3);
INSERT INTO "changes" VALUES(38,'run',3);
INSERT INTO "changes" VALUES(39,'run',1);
INSERT INTO "changes" VALUES(40,'run',1);
INSERT INTO "changes" VALUES(41,'run',1);
INSERT INTO "changes" VALUES(42,'run',1);
INSERT INTO "changes" VALUES(43,'run',1);
INSERT INTO "changes" VALUES(44,'run',3);
INSERT INTO "changes" VALUES(45,'run',3);
INSERT INTO "changes" VALUES(46,'project',1);
INSERT INTO "changes" VALUES(47,'experiment',2);
CREATE TABLE errors (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	time		INTEGER NOT NULL,
	path		TEXT NOT NULL,
	code		INTEGER NOT NULL,
	text		TEXT NOT NULL,
	remote		TEXT,
	detail		TEXT
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
INSERT INTO "experiments" VALUES(1,1,'digits','accuracy',1,1,1795276439473371359,1795276439897580721,1,1795276441157399403);
INSERT INTO "experiments" VALUES(2,1,'default',NULL,0,0,1795276440007622222,1795276441397537309,1,1795276441397537309);
CREATE TABLE harvest (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	path		TEXT NOT NULL,
	offset		INTEGER NOT NULL,
	PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;
INSERT INTO "harvest" VALUES(1,'metrics/accuracy',41);
INSERT INTO "harvest" VALUES(1,'metrics/loss',43);
INSERT INTO "harvest" VALUES(1,'params/test_images',1795276440201517570);
INSERT INTO "harvest" VALUES(1,'params/train_images',1795276440199718152);
INSERT INTO "harvest" VALUES(1,'tags/data_sha256',1795276440203405255);
INSERT INTO "harvest" VALUES(2,'metrics/accuracy',42);
INSERT INTO "harvest" VALUES(2,'metrics/loss',43);
INSERT INTO "harvest" VALUES(2,'params/test_images',1795276440199155515);
INSERT INTO "harvest" VALUES(2,'params/train_images',1795276440195405254);
INSERT INTO "harvest" VALUES(2,'tags/data_sha256',1795276440199718152);
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
INSERT INTO "metrics" VALUES(1,2,'accuracy',2,92,2,9.59697732997481067762e-01,1795276441028685275,8.61460957178841302273e-01,1,9.59697732997481067762e-01,2);
INSERT INTO "metrics" VALUES(2,2,'loss',2,93,2,2.29915897039738748031e-01,1795276440997816430,2.29915897039738748031e-01,2,6.58887451989639605365e-01,1);
INSERT INTO "metrics" VALUES(3,1,'accuracy',2,91,2,9.49622166246851362458e-01,1795276441153006435,0.906801007556675,1,9.49622166246851362458e-01,2);
INSERT INTO "metrics" VALUES(4,1,'loss',2,93,2,2.80683630102486258994e-01,1795276441138975211,2.80683630102486258994e-01,2,9.50678951168896446688e-01,1);
CREATE TABLE params (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "params" VALUES(1,'epochs','2');
INSERT INTO "params" VALUES(1,'hidden','24');
INSERT INTO "params" VALUES(1,'learning_rate','0.02');
INSERT INTO "params" VALUES(1,'seed','1');
INSERT INTO "params" VALUES(1,'test_images','397');
INSERT INTO "params" VALUES(1,'train_images','1400');
INSERT INTO "params" VALUES(2,'epochs','2');
INSERT INTO "params" VALUES(2,'hidden','24');
INSERT INTO "params" VALUES(2,'learning_rate','0.05');
INSERT INTO "params" VALUES(2,'seed','1');
INSERT INTO "params" VALUES(2,'test_images','397');
INSERT INTO "params" VALUES(2,'train_images','1400');
CREATE TABLE points (
	metric_id	INTEGER NOT NULL,
	seq		INTEGER NOT NULL,
	step		INTEGER NOT NULL,
	value		REAL,
	time		INTEGER NOT NULL,
	PRIMARY KEY (metric_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "points" VALUES(1,0,1,8.61460957178841302273e-01,1795276440524841105);
INSERT INTO "points" VALUES(1,1,2,9.59697732997481067762e-01,1795276441028685275);
INSERT INTO "points" VALUES(2,0,1,6.58887451989639605365e-01,1795276440525452855);
INSERT INTO "points" VALUES(2,1,2,2.29915897039738748031e-01,1795276440997816430);
INSERT INTO "points" VALUES(3,0,1,0.906801007556675,1795276440728051633);
INSERT INTO "points" VALUES(3,1,2,9.49622166246851362458e-01,1795276441153006435);
INSERT INTO "points" VALUES(4,0,1,9.50678951168896446688e-01,1795276440728343437);
INSERT INTO "points" VALUES(4,1,2,2.80683630102486258994e-01,1795276441138975211);
CREATE TABLE projects (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	name		TEXT NOT NULL UNIQUE,
	site		TEXT,			-- default site, from project.yaml
	created		INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	touched		INTEGER NOT NULL DEFAULT 0,
	runs_generation	INTEGER NOT NULL DEFAULT 0 -- counts with every change that runs.tsv may show
) STRICT;
INSERT INTO "projects" VALUES(1,'rain',NULL,1795276439470012239,1795276441397474024,1,1795276441397474024);
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
INSERT INTO "repositories" VALUES(1,1,'model','/home/ana/repo',NULL,NULL,NULL,'97e30341c8307672.git',0,1795276439470969995,1795276439881975354,1,1795276439881975354,NULL);
CREATE TABLE run_after (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	other_id	INTEGER NOT NULL REFERENCES runs(id),
	PRIMARY KEY (run_id, other_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_texts (
	run_id		INTEGER PRIMARY KEY REFERENCES runs(id),
	spec		TEXT NOT NULL,
	script		TEXT NOT NULL DEFAULT '',
	plan		TEXT NOT NULL		-- JSON: everything the site needs (core/format/plan.h)
) STRICT;
INSERT INTO "run_texts" VALUES(1,'name: lr-0.02
experiment: digits
code:
  repository: model
  branch: main
  commit: ''6cbbceca37ea8e02ce74b545d5f992d0a311bce8''
mlproject: MLproject
entry_point: train
parameters:
  epochs: 2
  learning_rate: 0.02
  hidden: 24
  seed: 1
site: local
artifacts:
  - model.json
# not set; null keeps later defaults out
sweep: null
after: null
account: null
backend_config: null
override: null
','#!/bin/bash
# MLproject, entry point train
# Runs in the directory of the MLproject.

# The command
python3 train.py --epochs 2 --learning-rate 0.02 --hidden 24 --seed 1
mantik_status=$?

exit "$mantik_status"
','{"artifacts":["model.json"],"commit":"6cbbceca37ea8e02ce74b545d5f992d0a311bce8","directory":"","exclude":[],"repository_id":1,"runtime":0,"script":"#!/bin/bash\n# MLproject, entry point train\n# Runs in the directory of the MLproject.\n\n# The command\npython3 train.py --epochs 2 --learning-rate 0.02 --hidden 24 --seed 1\nmantik_status=$?\n\nexit \"$mantik_status\"\n","variables":[]}');
INSERT INTO "run_texts" VALUES(2,'name: lr-0.05
experiment: digits
code:
  repository: model
  branch: main
  commit: ''6cbbceca37ea8e02ce74b545d5f992d0a311bce8''
mlproject: MLproject
entry_point: train
parameters:
  epochs: 2
  learning_rate: 0.05
  hidden: 24
  seed: 1
site: local
artifacts:
  - model.json
# not set; null keeps later defaults out
sweep: null
after: null
account: null
backend_config: null
override: null
','#!/bin/bash
# MLproject, entry point train
# Runs in the directory of the MLproject.

# The command
python3 train.py --epochs 2 --learning-rate 0.05 --hidden 24 --seed 1
mantik_status=$?

exit "$mantik_status"
','{"artifacts":["model.json"],"commit":"6cbbceca37ea8e02ce74b545d5f992d0a311bce8","directory":"","exclude":[],"repository_id":1,"runtime":0,"script":"#!/bin/bash\n# MLproject, entry point train\n# Runs in the directory of the MLproject.\n\n# The command\npython3 train.py --epochs 2 --learning-rate 0.05 --hidden 24 --seed 1\nmantik_status=$?\n\nexit \"$mantik_status\"\n","variables":[]}');
INSERT INTO "run_texts" VALUES(3,'name: command
experiment: default
code: {}
command: exit 3
site: local
# not set; null keeps later defaults out
sweep: null
after: null
account: null
backend_config: null
override: null
artifacts: null
','#!/bin/bash
# command of the spec
# Runs in the directory of the MLproject.

# The command
exit 3
mantik_status=$?

exit "$mantik_status"
','{"artifacts":[],"directory":"","exclude":[],"repository_id":0,"runtime":0,"script":"#!/bin/bash\n# command of the spec\n# Runs in the directory of the MLproject.\n\n# The command\nexit 3\nmantik_status=$?\n\nexit \"$mantik_status\"\n","variables":[]}');
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
INSERT INTO "runs" VALUES(1,'4281442d5ab22ed1a50fec9eeec4d36a',1,1,'lr-0.02','lr-0.02.4281442d',2,NULL,'ended','local','7313@1340718',NULL,NULL,'login01',0,NULL,1795276439897014709,1795276440053685628,1795276441151153988,1795276441157399403,1795276441157332694,'root',1,'model','main','6cbbceca37ea8e02ce74b545d5f992d0a311bce8',0,'MLproject','train','system','login01, 2 cpus, 23.5 GiB memory',NULL,'/home/ana/.local/share/mantik/work/4281442d5ab22ed1a50fec9eeec4d36a',0,0,8,389,210);
INSERT INTO "runs" VALUES(2,'f270a5a41ec0451ef0d46b4601021183',1,1,'lr-0.05','lr-0.05.f270a5a4',2,NULL,'ended','local','7314@1340718',NULL,NULL,'login01',0,NULL,1795276439897765086,1795276440054656883,1795276441029454180,1795276441057238083,1795276441057166126,'root',1,'model','main','6cbbceca37ea8e02ce74b545d5f992d0a311bce8',0,'MLproject','train','system','login01, 2 cpus, 23.5 GiB memory',NULL,'/home/ana/.local/share/mantik/work/f270a5a41ec0451ef0d46b4601021183',0,0,8,389,210);
INSERT INTO "runs" VALUES(3,'8367d216305ddecfcbc89d885f53581e',1,2,'command','command.8367d216',3,'exit code 3','ended','local','7470@1340822',NULL,NULL,'login01',3,NULL,1795276440007803842,1795276441096893627,1795276441112090335,1795276441397161399,1795276441117342843,'root',NULL,NULL,NULL,NULL,0,NULL,NULL,'system','login01, 2 cpus, 23.5 GiB memory',NULL,'/home/ana/.local/share/mantik/work/8367d216305ddecfcbc89d885f53581e',0,1795276441396972818,7,202,138);
CREATE TABLE settings (
	key		TEXT PRIMARY KEY,
	value		TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE submissions (
	id		INTEGER PRIMARY KEY AUTOINCREMENT,
	project_id	INTEGER NOT NULL,
	digest		TEXT NOT NULL,		-- sha256 of the text
	asker		TEXT NOT NULL,		-- boot id, thread group and its start time
	time		INTEGER NOT NULL,
	answer		TEXT NOT NULL
) STRICT;
INSERT INTO "submissions" VALUES(1,1,'b9447146db70d0e63ed1d30fac3bcc902eb901244626cac72cbfe954ef39a170','e1be4271-a0a1-4dc5-980c-460e43a87ab6 7211 1340685',1795276439897871514,'lr-0.02.4281442d
lr-0.05.f270a5a4
');
INSERT INTO "submissions" VALUES(2,1,'e0ab179dbc1a340ff8c74b39c8857e73b5ab9561723d0735cd497dcbb670d606','e1be4271-a0a1-4dc5-980c-460e43a87ab6 7285 1340711',1795276440008395392,'command.8367d216
');
CREATE TABLE tags (
	run_id		INTEGER NOT NULL REFERENCES runs(id),
	key		TEXT NOT NULL,
	value		TEXT NOT NULL,
	PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "tags" VALUES(1,'data_sha256','09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22');
INSERT INTO "tags" VALUES(2,'data_sha256','09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22');
INSERT INTO "tags" VALUES(3,'review','bad');
CREATE TABLE texts (
	kind		INTEGER NOT NULL,
	owner		INTEGER NOT NULL,
	text		BLOB NOT NULL,
	generation	INTEGER NOT NULL,
	changed		INTEGER NOT NULL,
	who		TEXT NOT NULL,
	PRIMARY KEY (kind, owner)
) STRICT, WITHOUT ROWID;
INSERT INTO "texts" VALUES(3,1,X'7072696D6172795F6D65747269633A207B6E616D653A2061636375726163792C20676F616C3A206D6178696D697A652C206F663A20626573747D0A',2,1795276439649623252,'root@login01 (pid 7204)');
INSERT INTO "texts" VALUES(4,1,X'7572693A202F686F6D652F616E612F7265706F0A',2,1795276439529641131,'root@login01 (pid 7194)');
CREATE INDEX runs_project ON runs (project_id, deleted, id, dir, changed, status);
CREATE INDEX runs_experiment ON runs (experiment_id, deleted, id, dir, changed, status);
CREATE INDEX runs_live ON runs (status, id) WHERE status < 2;
CREATE INDEX runs_job ON runs (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX submissions_time ON submissions (time);
CREATE INDEX errors_path ON errors (path, id);
INSERT INTO "sqlite_sequence" VALUES('projects',1);
INSERT INTO "sqlite_sequence" VALUES('changes',47);
INSERT INTO "sqlite_sequence" VALUES('repositories',1);
INSERT INTO "sqlite_sequence" VALUES('experiments',2);
INSERT INTO "sqlite_sequence" VALUES('runs',3);
INSERT INTO "sqlite_sequence" VALUES('intents',3);
INSERT INTO "sqlite_sequence" VALUES('submissions',2);
INSERT INTO "sqlite_sequence" VALUES('metrics',4);
COMMIT;
