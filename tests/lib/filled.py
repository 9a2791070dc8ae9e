# SPDX-License-Identifier: Apache-2.0
"""Much of everything for a real MLflow server, put straight into the mlflow.db that it has made: what
takes hours through its API takes seconds. The server may run meanwhile. Ids are the same each time."""
import random

T = 1_700_000_000_000


def many_runs(n):
    """Ended runs, one every ten minutes, of 5 metrics, 5 params and 3 tags each: (id, name, start,
    metrics, params, tags)."""
    rng = random.Random(n)
    for i in range(n):
        yield (f"{rng.getrandbits(128):032x}", f"run-{i}", T + 600_000 * i,
               [(f"m{k}", rng.random()) for k in range(5)],
               [(f"p{k}", str(rng.random())) for k in range(5)],
               [("mlflow.runName", f"run-{i}"), ("mlflow.user", "ada"), ("mlflow.source.name", "t.py")])


def experiment(db, name):
    """A new one; its id."""
    id = db.execute("INSERT INTO experiments(name,lifecycle_stage,creation_time,last_update_time)"
                    " VALUES(?,'active',?,?)", (name, T, T)).lastrowid
    db.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
               (f"mlflow-artifacts:/{id}", id))
    return id


def runs(db, experiment, n):
    """n of many_runs(); their ids."""
    ids = []
    for uid, name, at, metrics, params, tags in many_runs(n):
        ids.append(uid)
        db.execute("INSERT INTO runs(run_uuid,name,source_type,source_name,entry_point_name,user_id,status,"
                   "start_time,end_time,source_version,lifecycle_stage,artifact_uri,experiment_id)"
                   " VALUES(?,?,'UNKNOWN','','','ada','FINISHED',?,?,'','active',?,?)",
                   (uid, name, at, at + 1, f"mlflow-artifacts:/{experiment}/{uid}/artifacts", experiment))
        db.executemany("INSERT INTO metrics(key,value,timestamp,step,is_nan,run_uuid)"
                       " VALUES(?,?,?,1,0,?)", [(k, v, at, uid) for k, v in metrics])
        db.executemany("INSERT INTO latest_metrics(key,value,timestamp,step,is_nan,run_uuid)"
                       " VALUES(?,?,?,1,0,?)", [(k, v, at, uid) for k, v in metrics])
        db.executemany("INSERT INTO params(key,value,run_uuid) VALUES(?,?,?)", [(k, v, uid) for k, v in params])
        db.executemany("INSERT INTO tags(key,value,run_uuid) VALUES(?,?,?)", [(k, v, uid) for k, v in tags])
    return ids


def value(i):
    """Of point i of a history."""
    return float(f"{1 / (i + 3):.12g}")


def points(db, run, key, n):
    """The history of one more metric of a run, a point a second."""
    db.executemany("INSERT INTO metrics(key,value,timestamp,step,is_nan,run_uuid) VALUES(?,?,?,?,0,?)",
                   ((key, value(i), T + 1000 * i, i, run) for i in range(n)))
    db.execute("INSERT INTO latest_metrics(key,value,timestamp,step,is_nan,run_uuid) VALUES(?,?,?,?,0,?)",
               (key, value(n - 1), T + 1000 * (n - 1), n - 1, run))
