"""Trains the network: one line of output and one point of each metric per epoch."""
import argparse
import random

import digits

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--learning-rate", type=float, required=True)
parser.add_argument("--hidden", type=int, default=24)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()

images = digits.parts(digits.load())
train, test = images["train"], images["test"]
log = digits.Log()
log.param("train_images", len(train))
log.param("test_images", len(test))
log.tag("data_sha256", digits.DATA_SHA256)
print(f"{len(train)} images to learn from, {len(test)} to test with", flush=True)

rng = random.Random(args.seed)
network = digits.Network(args.hidden, rng)
for epoch in range(1, args.epochs + 1):
    rng.shuffle(train)
    loss = sum(network.learn(x, digit, args.learning_rate) for x, digit in train) / len(train)
    accuracy = digits.evaluate(network, test, "predictions.csv")
    log.metric("loss", epoch, loss)
    log.metric("accuracy", epoch, accuracy)
    print(f"epoch {epoch} of {args.epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
network.save("model.json")
