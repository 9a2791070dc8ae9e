# SPDX-License-Identifier: Apache-2.0
"""Searches through MLflow's own client, on data of search_data.py: prints what it finds. Told twice,
to ours and to a real server, it prints the same."""
import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType

c = MlflowClient()
# Not those of other projects, which the test of scopes may have made.
ids = [e.experiment_id for e in c.search_experiments(view_type=ViewType.ALL) if "/" not in e.name]


def show(title, found):
    print(title, [str(x) for x in found])


show("experiments", [e.name for e in c.search_experiments(order_by=["name DESC"], filter_string="name LIKE '%a%'")])
show("alpha", [e.name for e in c.search_experiments(filter_string="tags.team = 'wind'", max_results=1)])
runs = []
page = None
while True:
    page = c.search_runs(ids, "metrics.loss < 0.7", order_by=["metrics.loss DESC"], max_results=7,
                         page_token=page.token if page else None)
    runs += page
    if not page.token:
        break
show("pages", [r.info.run_name for r in runs])
show("losses", [r.data.metrics["loss"] for r in runs])
show("deleted", [r.info.run_name for r in c.search_runs(ids, run_view_type=ViewType.DELETED_ONLY)])
table = mlflow.search_runs(ids, filter_string="params.lr = '0.1' and status != 'FAILED'",
                           order_by=["metrics.odd", "start_time"])
show("columns", sorted(table.columns))
show("table", table["tags.mlflow.runName"])
show("lr", table["params.lr"])
show("models", [m.name for m in c.search_registered_models("name ILIKE 't%'", order_by=["name DESC"])])
show("versions", [f"{v.name}/{v.version} {sorted(v.tags.items())}" for v in c.search_model_versions(
    "name IN ('tree', 'net')" if hasattr(c, "search_logged_models") else "name = 'tree'",
    order_by=["version_number DESC", "name"])])
if hasattr(c, "search_logged_models"):
    page = c.search_logged_models(ids, "params.lr = '0.1'", max_results=1,
                                  order_by=[{"field_name": "metrics.loss", "ascending": False}])
    found = list(page) + list(c.search_logged_models(
        ids, "params.lr = '0.1'", max_results=1, page_token=page.token,
        order_by=[{"field_name": "metrics.loss", "ascending": False}]))
    show("logged", [(m.name, m.model_type, sorted(x.value for x in m.metrics)) for m in found])
print("done")
