# SPDX-License-Identifier: Apache-2.0
"""An ordinary MLflow script: gradient descent finds the line through noisy points."""
import random

import mlflow

rate, epochs = 1.0, 12
rng = random.Random(1)
points = [(x / 50, 3 * x / 50 + 1 + rng.gauss(0, 0.1)) for x in range(-50, 50)]
slope = offset = 0.0

mlflow.set_experiment("line")
with mlflow.start_run(run_name="line"):
    mlflow.log_param("learning_rate", rate)
    mlflow.log_param("epochs", epochs)
    mlflow.set_tag("model", "y = slope * x + offset")
    for epoch in range(1, epochs + 1):
        errors = [slope * x + offset - y for x, y in points]
        slope -= rate * sum(e * x for e, (x, _) in zip(errors, points)) / len(points)
        offset -= rate * sum(errors) / len(points)
        mlflow.log_metric("loss", sum(e * e for e in errors) / len(points), step=epoch)
    mlflow.log_metric("slope", slope)
    mlflow.log_metric("offset", offset)
print(f"y = {slope:.2f} x + {offset:.2f}, sought was 3 x + 1")
